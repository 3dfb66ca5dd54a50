/* Forks processes that end at once, one after the other: forks COUNT. */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc != 2)
        return 2;
    for (long left = atol(argv[1]); left > 0; left--) {
        pid_t child = fork();
        if (child == 0)
            _exit(0);
        if (child < 0 || waitpid(child, 0, 0) != child)
            return 1;
    }
    return 0;
}
