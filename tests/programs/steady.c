/* Opens FILE every few milliseconds until the file "stop" is there: steady FILE. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int steady(const char *name)
{
    int failed = 0;
    while (access("stop", F_OK) != 0) {
        int fd = open(name, O_RDONLY);
        failed += fd < 0;
        close(fd);
        usleep(2000);
    }
    return failed;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return 2;
    int failed = steady(argv[1]);
    printf("failed %d\n", failed);
    return failed != 0;
}
