/* The ways to reach a file, one for each name: ways WAY [ARGUMENT…]. Exits with 0 when
 * the way worked, or failed as it should. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static char **arg;
static char *self;

/* The value, or the end of the program. */
#define MUST(call) must((long)(call), #call)
static long must(long value, const char *what)
{
    if (value < 0) {
        perror(what);
        exit(1);
    }
    return value;
}

/* Ends the program unless the call failed so. */
static void fails(long value, int with)
{
    if (value >= 0 || errno != with) {
        fprintf(stderr, "%ld, errno %d instead of %d\n", value, errno, with);
        exit(1);
    }
}

static void say(int fd) { MUST(write(fd, "said\n", 5)); }
static int reading(const char *path) { return MUST(open(path, O_RDONLY)); }
static int making(const char *path) { return MUST(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666)); }
static void copy(void) { char b[64]; int in = reading("in"); MUST(read(in, b, 64)); say(making("out")); }
static int is_waited(pid_t pid) { int s; return waitpid(pid, &s, 0) == pid && s == 0 ? 0 : 1; }

/* How files are opened. The flags by their letters, then the path. */
static int opens(void)
{
    int flags = 0, write = 0;
    for (char *f = arg[0]; *f; f++)
        switch (*f) {
        case 'r': flags |= O_RDONLY; break;
        case 'w': flags |= O_WRONLY; break;
        case '+': flags |= O_RDWR; break;
        case 'a': flags |= O_APPEND; break;
        case 't': flags |= O_TRUNC; break;
        case 'c': flags |= O_CREAT; break;
        case 'x': flags |= O_EXCL; break;
        case 'n': flags |= O_NOFOLLOW; break;
        case 'd': flags |= O_DIRECTORY; break;
        case 'p': flags |= O_PATH; break;
        case '!': write = 1; break;
        }
    for (char **path = arg + 1; *path; path++) {
        int fd = MUST(open(*path, flags, 0666));
        if (write)
            say(fd);
    }
    return 0;
}

static int do_openat(void)
{
    int d = MUST(open("d", O_RDONLY | O_DIRECTORY));
    MUST(openat(d, "in", O_RDONLY));
    say(MUST(openat(d, "out", O_WRONLY | O_CREAT, 0666)));
    return 0;
}
static int do_openpath(void) /* relative to a descriptor that is O_PATH */
{
    int d = MUST(open("d", O_PATH));
    MUST(openat(d, "../in", O_RDONLY));
    return 0;
}
static long openat2_(const char *path, uint64_t flags, uint64_t resolve)
{
    struct open_how how = {.flags = flags, .resolve = resolve, .mode = flags & O_CREAT ? 0666 : 0};
    return syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
}
static int do_openat2(void) { MUST(openat2_("in", O_RDONLY, 0)); say(MUST(openat2_("out", O_WRONLY | O_CREAT, 0))); return 0; }
static int do_resolve(void) /* each flag where it lets pass, and where it refuses */
{
    char *absolute = realpath("in", NULL);
    MUST(openat2_("in", O_RDONLY, RESOLVE_BENEATH));
    fails(openat2_(absolute, O_RDONLY, RESOLVE_BENEATH), EXDEV);
    fails(openat2_("d/../../secret", O_RDONLY, RESOLVE_BENEATH), EXDEV);
    fails(openat2_("link", O_RDONLY, RESOLVE_NO_SYMLINKS), ELOOP);
    fails(openat2_("new", O_RDWR | O_CREAT, 0x8000), EINVAL);
    MUST(openat2_("d/in", O_RDONLY, RESOLVE_NO_XDEV));
    fails(openat2_("/proc/self/cmdline", O_RDONLY, RESOLVE_NO_XDEV), EXDEV);
    MUST(openat2_("old", O_RDONLY, RESOLVE_NO_MAGICLINKS));
    char magic[64];
    snprintf(magic, 64, "/proc/self/fd/%d", (int)MUST(open("empty", O_PATH)));
    fails(openat2_(magic, O_RDONLY, RESOLVE_NO_MAGICLINKS), ELOOP);
    return 0;
}
static int do_in_root(void) /* "/in" is d/in there */
{
    struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_IN_ROOT};
    int d = MUST(open("d", O_PATH));
    MUST(syscall(SYS_openat2, d, "/in", &how, sizeof how));
    MUST(syscall(SYS_openat2, d, "../../in", &how, sizeof how));
    return 0;
}
static int do_cached(void) /* only what needs no waiting */
{
    MUST(openat2_("in", O_RDONLY, 0));
    MUST(openat2_("in", O_RDONLY, RESOLVE_CACHED));
    return 0;
}
static int do_creat(void) { say(MUST(creat("out", 0666))); return 0; }
static int do_tmpfile(void)
{
    int fd = MUST(open(".", O_TMPFILE | O_WRONLY, 0666));
    char path[64];
    say(fd);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return MUST(linkat(AT_FDCWD, path, AT_FDCWD, "out", AT_SYMLINK_FOLLOW));
}
static int do_tmpfile_empty_path(void)
{
    int fd = MUST(open(".", O_TMPFILE | O_WRONLY, 0666));
    say(fd);
    return MUST(linkat(fd, "", AT_FDCWD, "out", AT_EMPTY_PATH));
}
static int do_reopen(void)
{
    char path[64];
    snprintf(path, 64, "/proc/self/fd/%d", (int)MUST(open("in", O_PATH)));
    MUST(open(path, O_RDONLY));
    snprintf(path, 64, "/proc/thread-self/fd/%d", (int)MUST(open("old", O_PATH)));
    say(MUST(open(path, O_WRONLY | O_TRUNC)));
    return 0;
}
static int do_handle(void)
{
    struct { struct file_handle h; char bytes[128]; } f = {.h.handle_bytes = 128};
    int mount, dir = MUST(open(".", O_RDONLY | O_DIRECTORY));
    MUST(name_to_handle_at(AT_FDCWD, "in", &f.h, &mount, 0));
    MUST(open_by_handle_at(dir, &f.h, O_RDONLY));
    f.h.handle_bytes = 128;
    MUST(name_to_handle_at(AT_FDCWD, "old", &f.h, &mount, 0));
    say(MUST(open_by_handle_at(dir, &f.h, O_WRONLY | O_TRUNC)));
    return 0;
}
static int reopen(int fd, int flags)
{
    char path[64];
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return MUST(open(path, flags));
}
static int do_unnamed(void) /* what never had a name, opened again */
{
    int memory = MUST(memfd_create("m", 0)), file = MUST(open(".", O_TMPFILE | O_RDWR, 0666));
    say(memory);
    say(reopen(memory, O_RDWR));
    say(file);
    say(reopen(file, O_WRONLY));
    reopen(file, O_RDONLY);
    return 0;
}
static int do_mknod(void)
{
    MUST(mknod("out", S_IFREG | 0666, 0));
    MUST(mknodat(MUST(open("d", O_PATH)), "out", 0666, 0));
    fails(mknod("in", S_IFREG | 0666, 0), EEXIST);
    return MUST(mknod("fifo", S_IFIFO | 0666, 0));
}
static int do_deleted(void) /* what had one */
{
    int fd = MUST(open("in", O_PATH));
    MUST(unlink("in"));
    reopen(fd, O_RDONLY);
    MUST(rename("old", "d/in (deleted)"));
    return MUST(unlink("d/in"));
}
static int do_gone(void) /* a directory that is no more */
{
    MUST(mkdir("t", 0777));
    MUST(chdir("t"));
    MUST(rmdir("../t"));
    fails(open("new", O_WRONLY | O_CREAT, 0666), ENOENT);
    fails(rename("../in", "new"), ENOENT);
    return 0;
}
static int do_proc_root(void) { char p[8192]; snprintf(p, 8192, "/proc/self/root%s", realpath("in", NULL)); reading(p); reading("/proc/self/cwd/old"); return 0; }

static int do_execve(void) { char *a[] = {"tool", NULL}; return MUST(execve("./tool", a, environ)); }
static int do_execveat(void) { char *a[] = {"tool", NULL}; return MUST(execveat(MUST(open("d", O_PATH)), "tool", a, environ, 0)); }
static int do_fexecve(void) { char *a[] = {"program", "0", NULL}; return MUST(execveat(MUST(open("program", O_PATH)), "", a, environ, AT_EMPTY_PATH)); }
static int do_exec_fails(void)
{
    char *a[] = {"x", NULL};
    fails(execve("missing", a, environ), ENOENT);
    fails(execve("in", a, environ), EACCES);
    fails(execve("d", a, environ), EACCES);
    return 0;
}

static int do_map(void) { return mmap(NULL, 4, PROT_READ, MAP_PRIVATE, reading("in"), 0) == MAP_FAILED; }
static int do_map_shared(void)
{
    char *p = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, MUST(open("old", O_RDWR)), 0);
    memcpy(p, "NEW!", 4);
    return msync(p, 4, MS_SYNC);
}
static int do_copy_file_range(void) { return MUST(copy_file_range(reading("in"), NULL, making("out"), NULL, 6, 0)) != 6; }
static int do_sendfile(void) { return MUST(sendfile(making("out"), reading("in"), NULL, 6)) != 6; }
static int do_splice(void)
{
    int p[2];
    MUST(pipe(p));
    MUST(splice(reading("in"), NULL, p[1], NULL, 6, 0));
    return MUST(splice(p[0], NULL, making("out"), NULL, 6, 0)) != 6;
}
static int do_ftruncate(void) { return MUST(ftruncate(MUST(open("old", O_WRONLY)), 3)); }
static int do_ftruncate_new(void) { return MUST(ftruncate(making("out"), 100)); }
static int do_truncate(void) { return MUST(truncate("old", atoi(arg[0]))); }
static int do_fallocate(void) { return MUST(fallocate(MUST(open("old", O_WRONLY)), 0, 0, 5000)); }
static int do_punch(void) { return MUST(fallocate(MUST(open("old", O_RDWR)), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4)); }

static int do_rename(void) { return MUST(rename(arg[0], arg[1])); }
static int do_exchange(void) { return MUST(syscall(SYS_renameat2, AT_FDCWD, arg[0], AT_FDCWD, arg[1], 1 << 1)); }
static int do_noreplace(void)
{
    fails(syscall(SYS_renameat2, AT_FDCWD, "in", AT_FDCWD, "old", 1), EEXIST);
    return MUST(syscall(SYS_renameat2, AT_FDCWD, "in", AT_FDCWD, "out", 1));
}
static int do_rename_fails(void)
{
    fails(rename("missing", "out"), ENOENT);
    fails(rename("in", "d"), EISDIR);
    fails(rename("d", "in"), ENOTDIR);
    fails(rename("d", "d/e"), EINVAL);
    fails(rename("d", "full"), ENOTEMPTY);
    fails(rename("in", "out/"), ENOTDIR);
    fails(rename("in", "missing/out"), ENOENT);
    fails(syscall(SYS_renameat2, AT_FDCWD, "in", AT_FDCWD, "out", 2), ENOENT);
    return MUST(rename("in", "in"));
}
static int do_fill_and_rename(void)
{
    MUST(mkdir("t", 0777));
    MUST(mkdir("t/u", 0777));
    say(making("t/a"));
    say(making("t/u/b"));
    return MUST(rename("t", "final"));
}
static int do_links(void)
{
    say(making("out"));
    MUST(link("out", "out2"));
    MUST(link("in", "in2"));
    fails(link("in", "old"), EEXIST);
    MUST(symlink("in", "soft"));
    reading("soft");
    return 0;
}
static int do_unlinks(void)
{
    MUST(unlink("old"));
    MUST(unlink("link"));
    MUST(unlinkat(MUST(open("d", O_PATH)), "in", 0));
    MUST(unlink("d/tool"));
    fails(unlink("d"), EISDIR);
    fails(rmdir("full"), ENOTEMPTY);
    MUST(rmdir("d"));
    return 0;
}

/* Who does it. */
static int child(void *unused) { (void)unused; copy(); _exit(0); }
static void *in_thread(void *unused) { (void)unused; copy(); return NULL; }
static int do_copy(void) { copy(); return 0; }
static int do_fork(void) { pid_t p = fork(); if (!p) { if (!fork()) child(NULL); wait(NULL); _exit(0); } return is_waited(p); }
static int do_vfork(void) { pid_t p = vfork(); if (!p) { execl(self, self, "copy", NULL); _exit(1); } return is_waited(p); }
static int do_spawn(void) { pid_t p; char *a[] = {self, "copy", NULL}; return posix_spawn(&p, self, NULL, NULL, a, environ) || is_waited(p); }
static int do_clone3(void)
{
    struct { uint64_t flags, pidfd, ctid, ptid, signal, stack, size, tls; } a = {.signal = SIGCHLD};
    pid_t p = MUST(syscall(SYS_clone3, &a, sizeof a));
    if (!p)
        child(NULL);
    return is_waited(p);
}
static int do_clone_vm(void)
{
    static char stack[1 << 16];
    return is_waited(MUST(clone(child, stack + sizeof stack, CLONE_VM | SIGCHLD, NULL)));
}
static int do_thread(void) { pthread_t t; return pthread_create(&t, NULL, in_thread, NULL) || pthread_join(t, NULL); }
static void *in_unshared(void *unused) { (void)unused; MUST(unshare(CLONE_FS)); MUST(chdir("d")); reading("in"); return NULL; }
static int do_thread_cwd(void) { pthread_t t; return pthread_create(&t, NULL, in_unshared, NULL) || pthread_join(t, NULL) || close(reading("old")); }
static int do_daemon(void)
{
    if (!fork()) {
        MUST(setsid());
        if (!fork()) {
            usleep(300000);
            child(NULL);
        }
        _exit(0);
    }
    return 0;
}
static int do_kill(void) { say(making("out")); return raise(SIGKILL); }
static int do_pass(void) /* a descriptor over a socket, to a child that writes by it */
{
    int s[2];
    char b[CMSG_SPACE(sizeof(int))] = {0}, byte = 0;
    struct iovec v = {&byte, 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = b, .msg_controllen = sizeof b};
    MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
    pid_t p = fork();
    if (!p) {
        int fd;
        MUST(recvmsg(s[1], &m, 0));
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
        say(fd);
        _exit(0);
    }
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    int fd = making("out");
    c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    MUST(sendmsg(s[0], &m, 0));
    return is_waited(p);
}

/* Where it is. */
static int do_chroot(void)
{
    MUST(chroot("d"));
    MUST(chdir("/"));
    reading("/in");
    say(making("/out"));
    return 0;
}
static int do_deep(void) /* beyond PATH_MAX */
{
    char name[201];
    memset(name, 'n', 200);
    name[200] = 0;
    for (int i = 0; i < 30; i++) {
        MUST(mkdir(name, 0777));
        MUST(chdir(name));
    }
    say(making("made"));
    reading("made");
    return MUST(rename("made", "deep"));
}
static int do_names(void)
{
    say(making("new\nline"));
    say(making("caf\xe9"));
    say(making(" tab\t\"quote\\"));
    return 0;
}
static int do_nothing(void) /* what is looked at and not opened, and what is no file */
{
    struct stat s;
    char b[64];
    int p[2];
    MUST(stat("in", &s));
    MUST(access("old", R_OK));
    MUST(readlink("link", b, 64));
    closedir(opendir("d"));
    MUST(open("in", O_PATH));
    MUST(pipe(p));
    MUST(socket(AF_UNIX, SOCK_STREAM, 0));
    say(MUST(memfd_create("m", 0)));
    reading("/proc/self/status");
    reading("/dev/zero");
    MUST(mkfifo("fifo", 0666));
    MUST(open("fifo", O_RDWR));
    return 0;
}
static int do_fails(void)
{
    char long_name[300] = {0};
    memset(long_name, 'x', 256);
    fails(open("missing", O_RDONLY), ENOENT);
    fails(open("missing/new", O_WRONLY | O_CREAT, 0666), ENOENT);
    fails(open("in", O_WRONLY | O_CREAT | O_EXCL, 0666), EEXIST);
    fails(open("d", O_WRONLY), EISDIR);
    fails(open("link", O_RDONLY | O_NOFOLLOW), ELOOP);
    fails(open("loop", O_RDONLY), ELOOP);
    fails(open("loop", O_WRONLY | O_CREAT, 0666), ELOOP);
    fails(open("in/new", O_WRONLY | O_CREAT, 0666), ENOTDIR);
    fails(open("in/", O_RDONLY), ENOTDIR);
    fails(open("new/", O_WRONLY | O_CREAT, 0666), EISDIR);
    fails(open(long_name, O_WRONLY | O_CREAT, 0666), ENAMETOOLONG);
    fails(open("in", O_RDONLY | O_DIRECTORY), ENOTDIR);
    fails(open("", O_RDONLY), ENOENT);
    fails(truncate("missing", 3), ENOENT);
    fails(unlink("missing"), ENOENT);
    fails(link("missing", "new"), ENOENT);
    return 0;
}
static int do_own(void) { say(making("out")); reading("out"); return 0; }
static int do_ephemeral(void) { say(making("out")); reading("out"); return MUST(unlink("out")); }
static int do_again(void) { MUST(unlink("old")); say(making("old")); return 0; }

static const struct { const char *name; int (*way)(void); } ways[] = {
#define WAY(name) {#name, do_##name}
    {"open", opens}, WAY(openat), WAY(openpath), WAY(openat2), WAY(resolve), WAY(in_root), WAY(cached),
    WAY(creat), WAY(tmpfile), WAY(tmpfile_empty_path), WAY(reopen), WAY(handle), WAY(unnamed), WAY(mknod), WAY(deleted), WAY(gone), WAY(proc_root),
    WAY(execve), WAY(execveat), WAY(fexecve), WAY(exec_fails), WAY(map), WAY(map_shared),
    WAY(copy_file_range), WAY(sendfile), WAY(splice), WAY(ftruncate), WAY(ftruncate_new),
    WAY(truncate), WAY(fallocate), WAY(punch), WAY(rename), WAY(exchange), WAY(noreplace),
    WAY(rename_fails), WAY(fill_and_rename), WAY(links), WAY(unlinks), WAY(copy), WAY(fork),
    WAY(vfork), WAY(spawn), WAY(clone3), WAY(clone_vm), WAY(thread), WAY(thread_cwd), WAY(daemon),
    WAY(kill), WAY(pass), WAY(chroot), WAY(deep), WAY(names), WAY(nothing), WAY(fails), WAY(own),
    WAY(ephemeral), WAY(again),
};

int main(int argc, char **argv)
{
    self = argv[0];
    arg = argv + 2;
    for (size_t i = 0; argc > 1 && i < sizeof ways / sizeof *ways; i++)
        if (!strcmp(argv[1], ways[i].name))
            return ways[i].way();
    return 2;
}
