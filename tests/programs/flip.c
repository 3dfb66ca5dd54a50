/* Two processes at the same moment: one opens a file, the other gives a name on its way to
 * another. flip WAY ROUNDS makes r0, r1, …; flip WAY ROUNDS race uses each once, and says what
 * was opened, and how long it took both (microseconds); flip WAY ROUNDS turns does so one a
 * while after the other. WAY is `link` (a symbolic link is replaced) or `directory` (two are exchanged). flip WAY ROUNDS hands is of files that
 * one makes, the other puts in their place, and the first opens, each as soon as it may. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* When a process began and ended its call of this round (microseconds). */
struct times {
    atomic_long begun, ended;
};

static struct times *used, *flipped;

static long now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static const char *in(int round, const char *name)
{
    static char paths[4][64];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "r%d/%s", round, name);
    return path;
}

static void make(int round, const char *directory, const char *file, const char *content)
{
    if (mkdir(in(round, directory), 0777))
        abort();
    int fd = open(in(round, file), O_WRONLY | O_CREAT, 0666);
    if (fd < 0 || write(fd, content, 1) != 1)
        abort();
    close(fd);
}

static void flip(int is_link, int round)
{
    flipped->begun = now();
    int failed = is_link
        ? rename(in(round, "next"), in(round, "current"))
        : renameat2(AT_FDCWD, in(round, "current"), AT_FDCWD, in(round, "b"), RENAME_EXCHANGE);
    flipped->ended = now();
    if (failed)
        abort();
}

static char look(int round)
{
    char content;
    used->begun = now();
    int fd = open(in(round, "current/f"), O_RDONLY);
    used->ended = now();
    if (fd < 0 || read(fd, &content, 1) != 1)
        abort();
    close(fd);
    return content;
}

/* From the begin of the first call to the end of the last. */
static long took(void)
{
    long begun = used->begun < flipped->begun ? used->begun : flipped->begun;
    long ended = used->ended > flipped->ended ? used->ended : flipped->ended;
    return ended - begun;
}

static void hand(int rounds)
{
    int made[2], placed[2];
    char byte = 0;
    if (pipe(made) || pipe(placed))
        abort();
    pid_t child = fork();
    for (int round = 0; round < rounds; round++) {
        if (child == 0) {
            if (read(made[0], &byte, 1) != 1 || rename(in(round, "new"), in(round, "ready")))
                abort();
            if (write(placed[1], &byte, 1) != 1)
                abort();
        } else {
            close(open(in(round, "new"), O_WRONLY | O_CREAT, 0666));
            if (write(made[1], &byte, 1) != 1 || read(placed[0], &byte, 1) != 1)
                abort();
            close(open(in(round, "ready"), O_RDONLY));
        }
    }
    if (child == 0)
        _exit(0);
    waitpid(child, 0, 0);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    int is_link = !strcmp(argv[1], "link"), rounds = atoi(argv[2]);
    if (argc == 3) {
        for (int round = 0; round < rounds; round++) {
            if (mkdir(in(round, ""), 0777))
                abort();
            make(round, is_link ? "a" : "current", is_link ? "a/f" : "current/f", "a");
            make(round, "b", "b/f", "b");
            if (is_link && (symlink("a", in(round, "current")) || symlink("b", in(round, "next"))))
                abort();
        }
        return 0;
    }
    if (!strcmp(argv[3], "hands")) {
        hand(rounds);
        return 0;
    }
    int in_turn = !strcmp(argv[3], "turns");
    atomic_int *begun = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    atomic_int *done = begun + 64;
    used = (struct times *)(begun + 128);
    flipped = (struct times *)(begun + 192);
    pid_t child = fork();
    for (int round = 0; round < rounds; round++) {
        if (child == 0) {
            while (atomic_load(begun) <= round)
                if (in_turn)
                    usleep(1000);
            if (in_turn)
                usleep(20000);
            for (volatile int wait = 100 * (round % 20); wait > 0; wait--)
                ;
            flip(is_link, round);
            atomic_store(done, round + 1);
        } else {
            if (!in_turn)
                atomic_store(begun, round + 1);
            char content = look(round);
            atomic_store(begun, round + 1);
            while (atomic_load(done) <= round)
                if (in_turn)
                    usleep(1000);
            printf("%d %c %ld\n", round, content, took());
        }
    }
    return child == 0 ? 0 : waitpid(child, 0, 0) != child;
}
