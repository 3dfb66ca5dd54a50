/* What a tracer must let through: real-time signals, a group stop that another process
   ends, and an exec by a thread, which becomes `cat FILE`. */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t got;

static void handle(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    got = info->si_value.sival_int;
}

static void *become(void *file)
{
    execlp("cat", "cat", (char *)file, (char *)NULL);
    return NULL;
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO};
    int status;
    pthread_t thread;
    if (argc != 2)
        return 2;
    sigaction(SIGRTMIN + 3, &action, NULL);
    sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = 42});
    pid_t child = fork();
    if (child == 0) {
        raise(SIGSTOP);
        usleep(300000);
        _exit(7);
    }
    waitpid(child, &status, WUNTRACED);
    printf("got %d, stopped %d by %d", got, WIFSTOPPED(status), WSTOPSIG(status));
    kill(child, SIGCONT);
    waitpid(child, &status, WCONTINUED);
    printf(", continued %d", WIFCONTINUED(status));
    waitpid(child, &status, 0);
    printf(", exit %d\n", WEXITSTATUS(status));
    fflush(stdout);
    pthread_create(&thread, NULL, become, argv[1]);
    for (;;)
        pause();
}
