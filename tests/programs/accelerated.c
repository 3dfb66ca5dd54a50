/* Opens files in ways that the accelerator must know: accelerated MODE
   FILE..., the mode being one of those below. */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static char **files;

static void get(const char *path)
{
    char byte;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, &byte, 1) != 1)
        err(1, "%s", path);
    close(fd);
}

static void *get_many(void *which)
{
    for (int times = 0; times < 2000; times++)
        get(files[(size_t)which]);
    return NULL;
}

static void threads(void)
{
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++)
        if (pthread_create(&threads[i], NULL, get_many, (void *)(i % 4)))
            errx(1, "pthread_create");
    for (size_t i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
}

static void wait_for(pid_t pid)
{
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
        errx(1, "a child: %#x", status);
}

static void forks(void)
{
    get(files[0]);
    pid_t pid = fork();
    if (!pid) {
        get(files[1]);
        pid = syscall(SYS_fork);
        if (!pid) {
            get(files[2]);
            _exit(0);
        }
        wait_for(pid);
        _exit(0);
    }
    wait_for(pid);
    pid = vfork();
    if (!pid) {
        get(files[3]);
        _exit(0);
    }
    wait_for(pid);
    get(files[0]);
}

static int child(void *unused)
{
    (void)unused;
    get_many((void *)1);
    return 0;
}

/* A process that shares its memory and its thread's storage with its parent. */
static void shared_memory(void)
{
    static char stack[1 << 16];
    get(files[0]);
    pid_t pid = clone(child, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL);
    get_many(0);
    wait_for(pid);
}

static volatile sig_atomic_t signals;

static void on_signal(int signal)
{
    (void)signal;
    signals++;
    get(files[1]);
}

static void handlers(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    struct itimerspec every = {{0, 200000}, {0, 200000}};
    timer_t timer;
    sigaction(SIGALRM, &action, NULL);
    if (timer_create(CLOCK_MONOTONIC, NULL, &timer) || timer_settime(timer, 0, &every, NULL))
        err(1, "timer");
    while (signals < 200)
        get(files[0]);
}

static void errors(void)
{
    const char *volatile nothing = NULL;
    get(files[0]);
    errno = 0;
    if (open("/nonexistent/x", O_RDONLY) != -1 || errno != ENOENT)
        errx(1, "not ENOENT");
    if (open(nothing, O_RDONLY) != -1 || errno != EFAULT)
        errx(1, "not EFAULT");
    errno = 7;
    int fd = open(files[1], O_RDONLY);
    if (fd < 0 || errno != 7)
        errx(1, "errno changed");
    if (!(fcntl(fd, F_GETFD) == 0) || open("/usr/bin/env/x", O_RDONLY) != -1 || errno != ENOTDIR)
        errx(1, "not as asked");
    if (openat(-1, files[2], O_RDONLY | O_NOFOLLOW) < 0)
        err(1, "openat");
    for (int i = 0; i < 3; i++)
        if (open("/proc/self/fd/0", O_RDONLY | O_CLOEXEC) < 0 || open("/dev/null", O_RDONLY) < 0)
            err(1, "/proc, /dev");
}

/* Through links and not, by turns and in rows; as openat(2) would have it. */
static void links(void)
{
    char link[4096], there[4096], through[4100];
    int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    snprintf(link, sizeof link, "%s.link", files[0]);
    snprintf(there, sizeof there, "%s.there", files[0]);
    snprintf(through, sizeof through, "%s/f1", there);
    if (symlink(files[0], link) || symlink(".", there))
        err(1, "symlink");
    for (int i = 0; i < 200; i++) {
        if (i < 100 || i % 2)
            get(link);
        if (i < 50)
            get(through);
        get(files[2]);
    }
    int fd = open(files[3], flags), other = syscall(SYS_openat, AT_FDCWD, files[3], flags);
    if (fd < 0 || fcntl(fd, F_GETFL) != fcntl(other, F_GETFL) || fcntl(fd, F_GETFD) != FD_CLOEXEC)
        errx(1, "other flags");
    if (open(link, O_RDONLY | O_NOFOLLOW) != -1 || errno != ELOOP)
        errx(1, "not ELOOP");
    if (unlink(link) || unlink(there))
        err(1, "unlink");
}

static void moves(void)
{
    char other[4096];
    snprintf(other, sizeof other, "%s.moved", files[0]);
    for (int i = 0; i < 100; i++) {
        get(files[0]);
        if (rename(files[0], other))
            err(1, "rename");
        get(other);
        if (rename(other, files[0]))
            err(1, "rename");
    }
    get(files[1]);
    if (unlink(files[1]))
        err(1, "unlink");
    get(files[2]);
    int fd = open(files[2], O_WRONLY | O_TRUNC);
    if (fd < 0 || write(fd, "new\n", 4) != 4)
        err(1, "write");
    close(fd);
    get(files[2]);
}

static void elsewhere(void)
{
    get(files[0]);
    if (chroot(files[1]) || chdir("/"))
        err(1, "chroot");
    get("/within");
}

/* Forbids two calls: who makes one is killed. */
static void forbid(int one, int other)
{
    struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, one, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, other, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog filter = {5, program};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, 2, &filter))
        err(1, "prctl");
}

/* A filter of its own that kills whoever asks for a thread's id or a descriptor's state. */
static void filters(void)
{
    get(files[0]);
    forbid(SYS_gettid, SYS_fstat);
    for (int i = 0; i < 100; i++)
        get(files[1]);
    pid_t pid = fork();
    if (!pid) {
        for (int i = 0; i < 100; i++)
            get(files[2]);
        _exit(0);
    }
    wait_for(pid);
}

/* A filter that is there before the program is. */
static void confined(void)
{
    pid_t pid = fork();
    if (!pid) {
        forbid(SYS_madvise, SYS_gettid);
        pid = fork();
        if (!pid) {
            usleep(50000); /* until its parent is gone */
            get(files[1]);
            execl("/proc/self/exe", "accelerated", "reads", files[2], files[3], NULL);
            err(1, "exec");
        }
        _exit(0);
    }
    wait_for(pid);
    usleep(300000);
}

static void reads(void)
{
    get(files[0]);
    get(files[1]);
}

static void failing_exec(void)
{
    size_t size = 1 << 20;
    char *large = malloc(size), *environment[] = {large, NULL};
    char *arguments[] = {"accelerated", "failing_exec", files[0], files[1], files[2], files[3], NULL};
    memset(large, 'x', size - 1);
    large[size - 1] = 0;
    get(files[0]);
    if (execve("/proc/self/exe", arguments, environment) != -1 || errno != E2BIG)
        err(1, "exec");
    int fd = open("/dev/null", O_RDONLY);
    if (fd < 0)
        err(1, "/dev/null");
    get(files[1]);
    get(files[2]);
    get(files[3]);
}

/* The first to open a file in a child shares the child's memory. */
static void vfork_first(void)
{
    get(files[0]);
    pid_t pid = fork();
    if (!pid) {
        pid = vfork();
        if (!pid) {
            get(files[1]);
            _exit(0);
        }
        wait_for(pid);
        get(files[2]);
        get(files[3]);
        _exit(0);
    }
    wait_for(pid);
}

static volatile sig_atomic_t is_child, forks_made;

static void fork_here(int signal)
{
    (void)signal;
    if (is_child || forks_made == 200)
        return;
    forks_made++;
    pid_t pid = fork();
    if (!pid)
        is_child = 1;
}

/* Without a read: the descriptor's position may be a parent's too. */
static void only_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        err(1, "%s", path);
    close(fd);
}

/* Children that go on where a signal handler forked: anywhere in an open. */
static void handler_forks(void)
{
    struct sigaction action = {.sa_handler = fork_here, .sa_flags = SA_RESTART};
    struct itimerspec every = {{0, 1500000}, {0, 1500000}};
    timer_t timer;
    get(files[0]);
    sigaction(SIGALRM, &action, NULL);
    if (timer_create(CLOCK_MONOTONIC, NULL, &timer) || timer_settime(timer, 0, &every, NULL))
        err(1, "timer");
    while (forks_made < 200 && !is_child)
        only_open(files[0]);
    if (is_child) {
        only_open(files[1]);
        _exit(0);
    }
    for (int status; wait(&status) > 0;)
        if (status)
            errx(1, "a child: %#x", status);
}

/* Whatever is where, but the program and its libraries. */
static void maps_over(void)
{
    get(files[0]);
    for (uintptr_t at = 0x100000000000; at < 0x550000000000; at += 0x10000000000)
        mmap((void *)at, 0x10000000000, PROT_NONE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    mmap((void *)0x7e8000000000, 0x2000000000, PROT_NONE,
         MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    get(files[1]);
}

static void *wait_to_open(void *path)
{
    int fd = open(path, O_RDONLY);
    return (void *)(long)fd;
}

static void cancels(void)
{
    pthread_t thread;
    void *result;
    get(files[0]);
    pthread_create(&thread, NULL, wait_to_open, files[1]);
    usleep(100000);
    pthread_cancel(thread);
    pthread_join(thread, &result);
    puts(result == PTHREAD_CANCELED ? "cancelled" : "went on");
}

static void make(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd < 0 || write(fd, text, 1) != 1)
        err(1, "%s", path);
    close(fd);
}

static void get_at(int directory, const char *path)
{
    char byte;
    int fd = openat(directory, path, O_RDONLY | O_NOFOLLOW);
    if (fd < 0 || read(fd, &byte, 1) != 1)
        err(1, "%s", path);
    close(fd);
}

static void missing(const char *path, int expected)
{
    if (open(path, O_RDONLY) >= 0 || errno != expected)
        err(1, "%s", path);
}

/* By names relative to the working directory, to others, and through symbolic links. */
static void relative(void)
{
    char name[201];
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    for (int times = 0; times < 100; times++) {
        get("f0");
        get("./f1");
    }
    mkdir("d", 0700);
    mkdir("d/e", 0700);
    make("d/inner", "i");
    make("d/e/last", "l");
    make("d/e/moved", "m");
    if (symlink("../f2", "d/link") || symlink("d", "ld") || symlink("f3", "l3"))
        err(1, "symlink");
    get("d/inner");
    get("d/../f2");
    get("d/link");
    get("ld/inner");
    get("l3");
    int d = open("d", O_RDONLY | O_DIRECTORY);
    get_at(d, "inner");
    get_at(d, "e/last");
    get_at(d, "./e/last");
    missing("nothing", ENOENT);
    missing("f0/under", ENOTDIR);
    missing("", ENOENT);
    if (openat(d, "link", O_RDONLY | O_NOFOLLOW) >= 0 || errno != ELOOP)
        err(1, "link");
    if (openat(999, "f0", O_RDONLY) >= 0 || errno != EBADF)
        err(1, "no directory");
    if (chdir("d/e"))
        err(1, "chdir");
    get("last");
    get("../inner");
    if (rename("../e", "../renamed"))
        err(1, "rename");
    get("moved");
    /* Deeper than the kernel's names that are taken. */
    for (int depth = 0; depth < 4; depth++)
        if (mkdir(name, 0700) || chdir(name))
            err(1, "deep");
    make("deep", "d");
    get("deep");
    if (fchdir(d) || mkdir("gone", 0700) || chdir("gone") || rmdir("../gone"))
        err(1, "gone");
    missing("f0", ENOENT);
    get_at(d, "inner");
}

/* Directories get other names, and other directories their inodes. */
static void directories(void)
{
    for (int times = 0; times < 20; times++) {
        char name[40];
        snprintf(name, sizeof name, "first%d", times);
        if (mkdir("a", 0700))
            err(1, "a");
        int d = open("a", O_RDONLY | O_DIRECTORY);
        make("a/x", "x");
        make("a/y", "y");
        get_at(d, "x");
        if (rename("a", name))
            err(1, "rename");
        get_at(d, "y");
        get_at(d, "x");
        if (unlinkat(d, "x", 0) || unlinkat(d, "y", 0) || close(d))
            err(1, "unlinkat");
        if (times % 2 ? rmdir(name) : unlinkat(AT_FDCWD, name, AT_REMOVEDIR))
            err(1, "%s", name);
        snprintf(name, sizeof name, "second%d", times);
        if (mkdir(name, 0700) || chdir(name))
            err(1, "%s", name);
        make("z", "z");
        get_at(AT_FDCWD, "z");
        get("z");
        if (chdir(".."))
            err(1, "..");
    }
}

static void limited(void)
{
    char line[200];
    unsigned long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && !kib && fgets(line, sizeof line, status))
        sscanf(line, "VmSize: %lu", &kib);
    struct rlimit memory = {(kib + 4096) << 10, RLIM_INFINITY};
    if (!kib || setrlimit(RLIMIT_AS, &memory))
        err(1, "RLIMIT_AS");
    get(files[0]);
    void *most = mmap(NULL, 3900 << 10, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (most == MAP_FAILED)
        err(1, "mmap");
}

static void descriptors(void)
{
    struct rlimit three = {3, 3};
    if (setrlimit(RLIMIT_NOFILE, &three))
        err(1, "RLIMIT_NOFILE");
    missing(files[0], EMFILE);
}

int main(int count, char **args)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } modes[] = {
        {"threads", threads}, {"forks", forks}, {"shared_memory", shared_memory},
        {"handlers", handlers}, {"errors", errors}, {"moves", moves}, {"links", links},
        {"elsewhere", elsewhere}, {"filters", filters}, {"cancels", cancels},
        {"confined", confined}, {"reads", reads}, {"failing_exec", failing_exec},
        {"vfork_first", vfork_first}, {"handler_forks", handler_forks},
        {"maps_over", maps_over}, {"relative", relative},
        {"directories", directories}, {"limited", limited},
        {"descriptors", descriptors},
    };
    files = args + 2;
    for (size_t i = 0; count > 2 && i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(args[1], modes[i].name)) {
            modes[i].run();
            return 0;
        }
    errx(2, "usage: accelerated MODE FILE...");
}
