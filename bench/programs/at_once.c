/* Runs so many of a command at once, and waits for all: at_once COUNT COMMAND... */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    for (long left = atol(argv[1]); left > 0; left--) {
        pid_t child = fork();
        if (child == 0) {
            execv(argv[2], argv + 2);
            _exit(127);
        }
        if (child < 0)
            return 1;
    }
    int status, failed = 0;
    while (wait(&status) > 0)
        failed |= status != 0;
    return failed;
}
