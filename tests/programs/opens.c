/* Opens a file many times and says how often that failed: opens FILE TIMES. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int failed = 0;
    if (argc != 3)
        return 2;
    puts("began");
    fflush(stdout);
    for (int left = atoi(argv[2]); left > 0; left--) {
        int fd = open(argv[1], O_RDONLY);
        if (fd < 0) {
            failed++;
            perror("open");
        } else {
            close(fd);
        }
    }
    printf("failed %d\n", failed);
    return failed != 0;
}
