/* Threads and forked processes that make, rename, read and delete files in the working
   directory: churn ROUNDS. Says how many calls failed, and how. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_int failed;
static int rounds;
static const char *self;
extern char **environ;

static void check(int ok, const char *what)
{
    if (!ok) {
        failed++;
        printf("%s: %s\n", what, strerror(errno));
    }
}

static void churn(const char *prefix, int times)
{
    char made[64], renamed[64], content[8];
    for (int i = 0; i < times; i++) {
        snprintf(made, sizeof made, "%s-%d.new", prefix, i);
        snprintf(renamed, sizeof renamed, "%s-%d", prefix, i % 16);
        int fd = open(made, O_WRONLY | O_CREAT | O_EXCL, 0644);
        check(fd >= 0 && write(fd, prefix, 2) == 2, "create");
        close(fd);
        check(rename(made, renamed) == 0, "rename");
        fd = open(renamed, O_RDONLY);
        check(fd >= 0 && read(fd, content, 8) == 2, "read");
        close(fd);
        check(open(made, O_RDONLY) < 0 && errno == ENOENT, "still there");
        if (i % 5 == 0)
            check(unlink(renamed) == 0, "unlink");
    }
}

static void wait_for(pid_t pid, const char *what)
{
    int status = -1;
    check(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, what);
}

static void *thread(void *number)
{
    char prefix[16];
    int no = (int)(long)number;
    for (int i = 0; i < 4; i++) {
        snprintf(prefix, sizeof prefix, "%c%c", 'a' + no, 't');
        churn(prefix, rounds);
        pid_t pid = fork();
        if (pid == 0) {
            snprintf(prefix, sizeof prefix, "%c%c", 'a' + no, 'f');
            churn(prefix, rounds / 2);
            _exit(failed != 0);
        }
        wait_for(pid, "fork");
        char child[2] = {(char)('a' + no), 0}, times[16];
        snprintf(times, sizeof times, "%d", rounds / 2);
        char *argv[] = {(char *)self, times, child, NULL};
        check(posix_spawn(&pid, self, NULL, NULL, argv, environ) == 0, "posix_spawn");
        wait_for(pid, "spawned");
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[3];
    self = argv[0];
    rounds = atoi(argv[1]);
    if (argc == 3) {
        char prefix[4] = {argv[2][0], 's', 0};
        churn(prefix, rounds);
        return failed != 0;
    }
    for (long i = 0; i < 3; i++)
        check(pthread_create(&threads[i], NULL, thread, (void *)i) == 0, "thread");
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    printf("failed %d\n", failed);
    return failed != 0;
}
