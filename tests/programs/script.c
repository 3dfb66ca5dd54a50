/* Does what scripts say: script BATCH, where each line of BATCH is a directory, a script
 * and a log. A script's line is a call, or begins or ends a block that a child, a new
 * program or a thread does. The log gets a line for each call: its line in the script
 * and 0 or the error's number. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SLOTS 6
#define LOG 200
extern char **environ;
static char self[4096], root[4096], *script_path, **lines;
static int count, slot[SLOTS];

/* A name: percent signs undone, `@` the script's directory. */
static char *name(char *word)
{
    char *path = malloc(8192), *to = path;
    if (*word == '@') {
        to = stpcpy(path, root);
        word++;
    }
    for (; *word; word++) {
        if (*word == '%') {
            char digits[3] = {word[1], word[2], 0};
            *to++ = strtol(digits, NULL, 16);
            word += 2;
        } else {
            *to++ = *word;
        }
    }
    *to = 0;
    return path;
}

static int base(const char *word) { return *word == '-' ? AT_FDCWD : slot[atoi(word)]; }

static void store(int at, int fd)
{
    if (slot[at] >= 0)
        close(slot[at]);
    slot[at] = fd;
}

static int opened(char **w) /* how, slot, base, path, flags */
{
    int flags = atoi(w[4]) | O_CLOEXEC, fd;
    mode_t mode = 0666;
    char *path = name(w[3]);
    struct open_how how = {.flags = flags, .mode = flags & O_CREAT ? mode : 0};
    if (!strcmp(w[0], "open"))
        fd = syscall(SYS_open, path, flags, mode);
    else if (!strcmp(w[0], "openat"))
        fd = syscall(SYS_openat, base(w[2]), path, flags, mode);
    else
        fd = syscall(SYS_openat2, base(w[2]), path, &how, sizeof how);
    if (fd < 0)
        return -1;
    store(atoi(w[1]), fd);
    return 0;
}

static int mapped(int fd)
{
    struct stat s;
    if (fstat(fd, &s) || (errno = EINVAL, s.st_size == 0))
        return -1;
    char *p = mmap(NULL, s.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED)
        return -1;
    p[0] = '#';
    munmap(p, s.st_size);
    return 0;
}

static int linked(int fd, char *to)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return linkat(AT_FDCWD, path, AT_FDCWD, to, AT_SYMLINK_FOLLOW);
}

static int ran(char *path)
{
    int status;
    char *argv[] = {path, NULL};
    pid_t pid = vfork();
    if (pid == 0) {
        execve(path, argv, environ);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    errno = ENOEXEC;
    return status == 0 ? 0 : -1;
}

static int call(char **w)
{
    char byte[64];
    int n = atoi(w[1]);
#define IS(what) (!strcmp(w[0], what))
    if (IS("open") || IS("openat") || IS("openat2")) return opened(w);
    if (IS("creat")) { int fd = creat(name(w[2]), 0666); if (fd >= 0) store(n, fd); return fd; }
    if (IS("tmpfile")) { int fd = open(name(w[2]), O_TMPFILE | O_RDWR | O_CLOEXEC, 0666); store(n, fd); return fd; }
    if (IS("linkfd")) return linked(slot[n], name(w[2]));
    if (IS("close")) { int r = close(slot[n]); slot[n] = -1; return r; }
    if (IS("dup")) { int fd = fcntl(slot[n], F_DUPFD_CLOEXEC, 10); if (fd >= 0) store(atoi(w[2]), fd); return fd; }
    if (IS("dup2")) return slot[n] == slot[atoi(w[2])] || slot[atoi(w[2])] < 0 ? (errno = EINVAL, -1) : dup3(slot[n], slot[atoi(w[2])], O_CLOEXEC);
    if (IS("read")) return read(slot[n], byte, 4);
    if (IS("write")) return write(slot[n], w[2], strlen(w[2]));
    if (IS("ftruncate")) return ftruncate(slot[n], atoi(w[2]));
    if (IS("map")) return mapped(slot[n]);
    if (IS("copy")) return copy_file_range(slot[n], NULL, slot[atoi(w[2])], NULL, 8, 0);
    if (IS("truncate")) return truncate(name(w[2]), n);
    if (IS("rename")) return syscall(SYS_renameat2, base(w[1]), name(w[2]), base(w[3]), name(w[4]), atoi(w[5]));
    if (IS("link")) return linkat(base(w[1]), name(w[2]), base(w[3]), name(w[4]), 0);
    if (IS("symlink")) return symlink(name(w[1]), name(w[2]));
    if (IS("unlink")) return unlinkat(base(w[1]), name(w[2]), 0);
    if (IS("mkdir")) return mkdir(name(w[1]), 0777);
    if (IS("rmdir")) return rmdir(name(w[1]));
    if (IS("chdir")) return chdir(name(w[1]));
    if (IS("fchdir")) return fchdir(slot[n]);
    if (IS("run")) return ran(name(w[1]));
    errno = ENOSYS;
    return -1;
}

static int block_end(int at) /* the line of the end of the block that begins before `at` */
{
    for (int depth = 1; at < count; at++) {
        depth += lines[at][0] == '{' ? 1 : lines[at][0] == '}' ? -1 : 0;
        if (depth == 0)
            break;
    }
    return at;
}

static void play(int from, int to);
static int span[2];
static void *in_thread(void *unused) { (void)unused; play(span[0], span[1]); return NULL; }

static void block(const char *kind, int from, int to)
{
    char at[2][16];
    pthread_t thread;
    pid_t pid = 0;
    if (!strcmp(kind, "thread")) {
        span[0] = from, span[1] = to;
        if (pthread_create(&thread, NULL, in_thread, NULL) == 0)
            pthread_join(thread, NULL);
        return;
    }
    if (!strcmp(kind, "fork") && (pid = fork()) == 0) {
        play(from, to);
        _exit(0);
    }
    if (!strcmp(kind, "exec")) {
        sprintf(at[0], "%d", from);
        sprintf(at[1], "%d", to);
        char *argv[] = {self, root, script_path, at[0], at[1], NULL};
        posix_spawn(&pid, self, NULL, NULL, argv, environ);
    }
    waitpid(pid, NULL, 0);
}

static void play(int from, int to)
{
    for (int at = from; at < to; at++) {
        char copy[8192], *words[8] = {0}, *rest = copy, line[64];
        strncpy(copy, lines[at], sizeof copy - 1);
        for (int i = 0; i < 7 && (words[i] = strsep(&rest, " ")); i++)
            ;
        if (words[0][0] == '{') {
            int end = block_end(at + 1);
            block(words[1], at + 1, end);
            at = end;
            continue;
        }
        for (int i = 0; i < 8; i++)
            words[i] = words[i] ? words[i] : "";
        errno = 0;
        int result = call(words) < 0 ? errno : 0;
        int length = sprintf(line, "%d %d\n", at, result);
        if (write(LOG, line, length) != length)
            abort();
    }
}

static void load(const char *path)
{
    static char text[1 << 20];
    FILE *file = fopen(path, "re");
    size_t length = file ? fread(text, 1, sizeof text - 1, file) : 0;
    text[length] = 0;
    if (file)
        fclose(file);
    lines = calloc(10000, sizeof *lines);
    for (char *rest = text, *line; (line = strsep(&rest, "\n")) && *line;)
        lines[count++] = line;
}

int main(int argc, char **argv)
{
    memset(slot, -1, sizeof slot);
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
        return 2;
    if (argc == 5) { /* a block, after exec */
        strcpy(root, argv[1]);
        load(script_path = argv[2]);
        play(atoi(argv[3]), atoi(argv[4]));
        return 0;
    }
    FILE *batch = fopen(argv[1], "re");
    char path[4096], log[4096];
    while (batch && fscanf(batch, "%4095s %4095s %4095s", root, path, log) == 3) {
        pid_t pid = fork();
        if (pid == 0) {
            int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0666);
            if (fd < 0 || dup2(fd, LOG) < 0 || chdir(root))
                _exit(1);
            load(script_path = path);
            play(0, count);
            _exit(0);
        }
        int status;
        if (waitpid(pid, &status, 0) != pid || status)
            return 1;
    }
    return batch == NULL;
}
