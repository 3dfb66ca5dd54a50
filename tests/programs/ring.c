/* Copies a file through an io_uring, by raw system calls: ring FROM TO. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int ring;
static struct io_uring_params parameters;
static char *submissions, *completions;
static struct io_uring_sqe *entries;

/* Submits one operation and waits for its result. */
static int operate(struct io_uring_sqe entry)
{
    uint32_t *tail = (uint32_t *)(submissions + parameters.sq_off.tail);
    uint32_t mask = *(uint32_t *)(submissions + parameters.sq_off.ring_mask);
    uint32_t *array = (uint32_t *)(submissions + parameters.sq_off.array);
    entries[*tail & mask] = entry;
    array[*tail & mask] = *tail & mask;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1)
        return -errno;
    uint32_t *head = (uint32_t *)(completions + parameters.cq_off.head);
    mask = *(uint32_t *)(completions + parameters.cq_off.ring_mask);
    struct io_uring_cqe *results = (void *)(completions + parameters.cq_off.cqes);
    int result = results[*head & mask].res;
    __atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
    return result;
}

static int open_file(const char *name, int flags)
{
    return operate((struct io_uring_sqe){.opcode = IORING_OP_OPENAT, .fd = AT_FDCWD,
                                         .addr = (uintptr_t)name, .len = 0644,
                                         .open_flags = flags});
}

static int transfer(int operation, int fd, char *buffer, unsigned length)
{
    return operate((struct io_uring_sqe){.opcode = operation, .fd = fd,
                                         .addr = (uintptr_t)buffer, .len = length});
}

int main(int argc, char **argv)
{
    char buffer[4096];
    if (argc != 3)
        return 2;
    ring = syscall(SYS_io_uring_setup, 4, &parameters);
    if (ring < 0) {
        printf("io_uring_setup: %s\n", strerror(errno));
        return 1;
    }
    int protection = PROT_READ | PROT_WRITE, flags = MAP_SHARED | MAP_POPULATE;
    submissions = mmap(NULL, 1 << 16, protection, flags, ring, IORING_OFF_SQ_RING);
    completions = mmap(NULL, 1 << 16, protection, flags, ring, IORING_OFF_CQ_RING);
    entries = mmap(NULL, 4 * sizeof *entries, protection, flags, ring, IORING_OFF_SQES);
    if (submissions == MAP_FAILED || completions == MAP_FAILED || entries == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    int from = open_file(argv[1], O_RDONLY);
    int to = open_file(argv[2], O_WRONLY | O_CREAT | O_TRUNC);
    int length = transfer(IORING_OP_READ, from, buffer, sizeof buffer);
    printf("read %d, wrote %d\n", length, transfer(IORING_OP_WRITE, to, buffer, length));
    return 0;
}
