/* Copies a file in a statically linked program: copy IN OUT. */
#include <fcntl.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    char buffer[4096];
    ssize_t length;
    if (argc != 3)
        return 2;
    int in = open(argv[1], O_RDONLY);
    int out = open(argv[2], O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (in < 0 || out < 0)
        return 1;
    while ((length = read(in, buffer, sizeof buffer)) > 0)
        if (write(out, buffer, length) != length)
            return 1;
    return 0;
}
