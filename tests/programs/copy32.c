/* Copies `in` to `out` by i386's own calls, without any library: gcc -m32 -nostdlib -static. */
static long call(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}

void _start(void)
{
    char buffer[64];
    long in = call(5, (long)"in", 0, 0);             /* open */
    long out = call(5, (long)"tmp", 01 | 0100, 0666); /* open for writing, O_CREAT */
    long length = call(3, in, (long)buffer, sizeof buffer);
    long failed = in < 0 || out < 0 || call(4, out, (long)buffer, length) != length;
    failed |= call(38, (long)"tmp", (long)"out", 0);  /* rename */
    failed |= call(193, (long)"old", 3, 0);           /* truncate64 */
    failed |= call(10, (long)"empty", 0, 0);          /* unlink */
    call(1, failed, 0, 0);
}
