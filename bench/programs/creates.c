/* Creates files, writes a page into each and closes it: creates DIRECTORY COUNT. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    static const char page[4096];
    if (argc != 3 || chdir(argv[1]) != 0)
        return 2;
    for (long left = atol(argv[2]); left > 0; left--) {
        char name[16];
        snprintf(name, sizeof name, "%ld", left);
        int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (fd < 0 || write(fd, page, sizeof page) != sizeof page)
            return 1;
        close(fd);
    }
    return 0;
}
