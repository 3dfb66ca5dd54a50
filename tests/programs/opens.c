/* Opens a file many times, says when it has begun and how often that failed: opens FILE
   TIMES. */
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
    int times = atoi(argv[2]);
    for (int left = times; left > 0; left--) {
        int fd = open(argv[1], O_RDONLY);
        if (fd < 0) {
            failed++;
            perror("open");
        } else {
            close(fd);
        }
        if (left == times) {
            puts("began");
            fflush(stdout);
        }
    }
    printf("failed %d\n", failed);
    return failed != 0;
}
