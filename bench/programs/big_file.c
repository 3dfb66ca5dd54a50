/* Writes a file, and reads it back: big_file PATH MEBIBYTES. No two blocks are equal. */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK (1 << 20)
static uint64_t block[BLOCK / 8];

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    long count = atol(argv[2]);
    uint64_t state = 88172645463325252u;
    for (size_t i = 0; i < BLOCK / 8; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        block[i] = state;
    }
    int fd = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0644);
    for (long i = 0; i < count; i++) {
        block[0] = i;
        if (fd < 0 || write(fd, block, BLOCK) != BLOCK)
            return 1;
    }
    close(fd);
    fd = open(argv[1], O_RDONLY);
    for (long i = 0; i < count; i++)
        if (fd < 0 || read(fd, block, BLOCK) != BLOCK)
            return 1;
    close(fd);
    return 0;
}
