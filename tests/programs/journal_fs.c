/* A FUSE server that passes everything on to DIRECTORY and opens a journal for every
   question it is asked: journal_fs DIRECTORY JOURNAL [FUSE OPTION...] MOUNTPOINT. */
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static int below;
static const char *journal;

static void note(const char *what, const char *path)
{
    int fd = open(journal, O_WRONLY | O_APPEND | O_CREAT, 0644);
    if (fd < 0 || dprintf(fd, "%s %s\n", what, path) < 0)
        abort();
    close(fd);
}

static const char *name(const char *path)
{
    return path[1] ? path + 1 : ".";
}

static void *init(struct fuse_conn_info *connection, struct fuse_config *config)
{
    (void)connection;
    config->entry_timeout = config->attr_timeout = config->negative_timeout = 0;
    return NULL;
}

static int get(const char *path, struct stat *stat, struct fuse_file_info *file)
{
    (void)file;
    note("getattr", path);
    return fstatat(below, name(path), stat, AT_SYMLINK_NOFOLLOW) ? -errno : 0;
}

static int make(const char *path, mode_t mode, struct fuse_file_info *file)
{
    note("create", path);
    int fd = openat(below, name(path), file->flags | O_CREAT, mode);
    file->fh = fd;
    return fd < 0 ? -errno : 0;
}

static int use(const char *path, struct fuse_file_info *file)
{
    return make(path, 0, file);
}

static int get_content(const char *path, char *to, size_t size, off_t at,
                       struct fuse_file_info *file)
{
    note("read", path);
    ssize_t length = pread(file->fh, to, size, at);
    return length < 0 ? -errno : length;
}

static int put_content(const char *path, const char *from, size_t size, off_t at,
                       struct fuse_file_info *file)
{
    note("write", path);
    ssize_t length = pwrite(file->fh, from, size, at);
    return length < 0 ? -errno : length;
}

static int change_name(const char *from, const char *to, unsigned flags)
{
    note("rename", from);
    return flags ? -EINVAL : renameat(below, name(from), below, name(to)) ? -errno : 0;
}

static int shut(const char *path, struct fuse_file_info *file)
{
    note("release", path);
    return close(file->fh) ? -errno : 0;
}

static const struct fuse_operations operations = {
    .init = init, .getattr = get, .create = make, .open = use, .read = get_content,
    .write = put_content, .rename = change_name, .release = shut,
};

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    below = open(argv[1], O_RDONLY | O_DIRECTORY);
    journal = realpath(argv[2], NULL);
    if (below < 0 || !journal)
        return 1;
    argv[2] = argv[0];
    return fuse_main(argc - 2, argv + 2, &operations, NULL);
}
