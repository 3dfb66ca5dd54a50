/* Signals and calls: signals real|prof FILE TIMES, signals interrupted|restarted FIFO. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t signals;

static void count(int signal)
{
    (void)signal;
    signals++;
}

static void every(int which, long microseconds, int flags)
{
    struct sigaction action = {.sa_handler = count, .sa_flags = flags};
    struct itimerval timer = {{0, microseconds}, {0, microseconds}};
    sigaction(which == ITIMER_PROF ? SIGPROF : SIGALRM, &action, NULL);
    setitimer(which, &timer, NULL);
}

/* A profiler's timer, and calls that natively never fail for a signal. */
static int profile(int which, const char *name, int times)
{
    int failed = 0;
    char other[256];
    snprintf(other, sizeof other, "%s.other", name);
    every(which, 1000, SA_RESTART);
    for (int i = 0; i < times || signals < 5; i++) {
        int fd = open(name, O_RDWR | O_CREAT, 0644);
        if (fd < 0 || close(fd) || rename(name, other) || link(other, name) || unlink(other)) {
            printf("%s\n", strerror(errno));
            failed++;
        }
    }
    printf("failed %d\n", failed);
    return failed != 0;
}

/* An open that waits: a FIFO without a writer. */
static int wait_for_writer(const char *name, int flags)
{
    pid_t writer = fork();
    if (writer == 0) {
        usleep(300000);
        int fd = open(name, O_WRONLY | (flags ? 0 : O_NONBLOCK));
        _exit(fd < 0 ? errno : 0);
    }
    every(ITIMER_REAL, 50000, flags);
    int fd = open(name, O_RDONLY);
    printf("open: %s\n", fd < 0 ? strerror(errno) : "done");
    printf("signals: %s\n", signals > 1 ? "several" : signals ? "one" : "none");
    int status = 0;
    while (waitpid(writer, &status, 0) < 0 && errno == EINTR)
        ;
    printf("writer: %s\n", strerror(WEXITSTATUS(status)));
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 4)
        return profile(strcmp(argv[1], "prof") ? ITIMER_REAL : ITIMER_PROF, argv[2], atoi(argv[3]));
    return wait_for_writer(argv[2], strcmp(argv[1], "restarted") ? 0 : SA_RESTART);
}
