/* A slow disk or a slow network for one kind of process, by LD_PRELOAD.
 *
 * LAB_IO_WHO     acts only in processes whose command line has this word
 * LAB_IO_REPORT  folder of the figures: a file for each executor ("executor-1") or "driver", nine 64-bit numbers:
 *                calls, bytes and nanoseconds slept for reading files, writing files and sending to sockets
 * LAB_IO_PATHS   files under these paths (separated by ':') are slow
 * LAB_IO_PORTS   "FROM-TO": sockets whose own port is one of these are slow in sending
 * LAB_IO_MB_S    how fast "slow" is
 * LAB_IO_CALL_US what each call of 256 bytes or more costs besides
 * LAB_IO_FULL_MB the disk is full when a process has written so much to these files
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { READ_FILE, WRITE_FILE, SEND, KINDS };

#define LONGEST_PIECE (256u << 10)

struct figures {
    uint64_t calls, bytes, slept_ns;
};

static struct figures nowhere[KINDS];
static struct figures *figures = nowhere;
static int active;
static int port_from, port_to;
static double ns_per_byte, ns_per_call;
static uint64_t full_bytes;
static char paths[4096];
static __thread double debt_ns;

static double number(const char *name)
{
    const char *text = getenv(name);
    return text ? atof(text) : 0;
}

static void report_to(const char *folder, const char *who)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, who);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return;
    if (ftruncate(fd, sizeof nowhere) == 0) {
        void *map = mmap(NULL, sizeof nowhere, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (map != MAP_FAILED)
            figures = map;
    }
    close(fd);
}

__attribute__((constructor)) static void begin(void)
{
    static char line[1 << 20];
    char who[64] = "driver";
    const char *wanted = getenv("LAB_IO_WHO"), *folder = getenv("LAB_IO_REPORT");
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    size_t length = 0;
    ssize_t got;
    if (fd < 0 || !wanted || !folder)
        return;
    while ((got = read(fd, line + length, sizeof line - 1 - length)) > 0)
        length += got;
    close(fd);
    int found = 0;
    for (char *part = line; part < line + length; part += strlen(part) + 1) {
        found |= strstr(part, wanted) != NULL;
        if (strcmp(part, "--executor-id") == 0 && part + strlen(part) + 1 < line + length)
            snprintf(who, sizeof who, "executor-%s", part + strlen(part) + 1);
    }
    if (!found)
        return;
    if (getenv("LAB_IO_PATHS"))
        snprintf(paths, sizeof paths, "%s", getenv("LAB_IO_PATHS"));
    if (getenv("LAB_IO_PORTS"))
        sscanf(getenv("LAB_IO_PORTS"), "%d-%d", &port_from, &port_to);
    double mb_s = number("LAB_IO_MB_S");
    ns_per_byte = mb_s > 0 ? 1e3 / mb_s : 0;
    ns_per_call = number("LAB_IO_CALL_US") * 1e3;
    full_bytes = (uint64_t)(number("LAB_IO_FULL_MB") * 1e6);
    report_to(folder, who);
    active = 1;
}

static int is_slow_file(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0 || path[0] != '/')
        return 0;
    path[length] = 0;
    for (const char *at = paths; *at;) {
        size_t part = strcspn(at, ":");
        if (part && strncmp(path, at, part) == 0)
            return 1;
        at += part + (at[part] == ':');
    }
    return 0;
}

static int is_slow_socket(int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    int port = 0;
    if (!port_from || getsockname(fd, (struct sockaddr *)&address, &length) != 0)
        return 0;
    if (address.ss_family == AF_INET)
        port = ntohs(((struct sockaddr_in *)&address)->sin_port);
    else if (address.ss_family == AF_INET6)
        port = ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
    return port >= port_from && port <= port_to;
}

static void charge(int kind, size_t bytes)
{
    debt_ns += bytes * ns_per_byte + (bytes >= 256 ? ns_per_call : 0);
    __atomic_fetch_add(&figures[kind].calls, 1, __ATOMIC_RELAXED);
    __atomic_fetch_add(&figures[kind].bytes, bytes, __ATOMIC_RELAXED);
    if (debt_ns < 1e6)
        return;
    time_t seconds = (time_t)(debt_ns / 1e9);
    struct timespec from, to, span = {seconds, (long)(debt_ns - 1e9 * seconds)};
    clock_gettime(CLOCK_MONOTONIC, &from);
    nanosleep(&span, NULL);
    clock_gettime(CLOCK_MONOTONIC, &to);
    double slept = (to.tv_sec - from.tv_sec) * 1e9 + (to.tv_nsec - from.tv_nsec);
    debt_ns -= slept;
    if (debt_ns < -5e6)
        debt_ns = -5e6;
    __atomic_fetch_add(&figures[kind].slept_ns, (uint64_t)slept, __ATOMIC_RELAXED);
}

/* Before a call that sends: what is sent comes late. A longer piece is cut, as a full socket would; says how much may go. */
static size_t before_sending(int fd, size_t asked)
{
    struct stat about;
    int before = errno;
    if (active && port_from && asked && fstat(fd, &about) == 0 && S_ISSOCK(about.st_mode) && is_slow_socket(fd)) {
        asked = asked > LONGEST_PIECE ? LONGEST_PIECE : asked;
        charge(SEND, asked);
    }
    errno = before;
    return asked;
}

/* After a call that read or wrote a file. */
static void delay(int fd, int kind, ssize_t bytes)
{
    struct stat about;
    int before = errno;
    if (active && paths[0] && bytes > 0 && fstat(fd, &about) == 0 && S_ISREG(about.st_mode) && is_slow_file(fd))
        charge(kind, bytes);
    errno = before;
}

/* Before a call that writes a file: whether there is no space left for it. */
static int is_full(int fd, int kind)
{
    struct stat about;
    int before = errno;
    int full = active && full_bytes && kind == WRITE_FILE && figures[WRITE_FILE].bytes >= full_bytes
        && fstat(fd, &about) == 0 && S_ISREG(about.st_mode) && is_slow_file(fd);
    errno = full ? ENOSPC : before;
    return full;
}

static size_t size_of(const struct iovec *parts, size_t count)
{
    size_t whole = 0;
    for (size_t at = 0; at < count; at++)
        whole += parts[at].iov_len;
    return whole;
}

#define WRAP(kind, result, name, parameters, arguments, fd, first)               \
    result name parameters                                                 \
    {                                                                      \
        static result(*real) parameters;                                   \
        if (!real)                                                         \
            real = (result(*) parameters)dlsym(RTLD_NEXT, #name);          \
        if (is_full(fd, kind))                                             \
            return -1;                                                     \
        first;                                                             \
        result done = real arguments;                                      \
        delay(fd, kind, done);                                             \
        return done;                                                       \
    }

WRAP(READ_FILE, ssize_t, read, (int fd, void *to, size_t count), (fd, to, count), fd, (void)0)
WRAP(READ_FILE, ssize_t, pread, (int fd, void *to, size_t count, off_t at), (fd, to, count, at), fd, (void)0)
WRAP(READ_FILE, ssize_t, pread64, (int fd, void *to, size_t count, off64_t at), (fd, to, count, at), fd, (void)0)
WRAP(READ_FILE, ssize_t, readv, (int fd, const struct iovec *to, int count), (fd, to, count), fd, (void)0)
WRAP(WRITE_FILE, ssize_t, write, (int fd, const void *from, size_t count), (fd, from, count), fd, count = before_sending(fd, count))
WRAP(WRITE_FILE, ssize_t, pwrite, (int fd, const void *from, size_t count, off_t at), (fd, from, count, at), fd, (void)0)
WRAP(WRITE_FILE, ssize_t, pwrite64, (int fd, const void *from, size_t count, off64_t at), (fd, from, count, at), fd, (void)0)
WRAP(WRITE_FILE, ssize_t, writev, (int fd, const struct iovec *from, int count), (fd, from, count), fd, before_sending(fd, size_of(from, count)))
WRAP(WRITE_FILE, ssize_t, send, (int fd, const void *from, size_t count, int flags), (fd, from, count, flags), fd, count = before_sending(fd, count))
WRAP(WRITE_FILE, ssize_t, sendmsg, (int fd, const struct msghdr *message, int flags), (fd, message, flags), fd, before_sending(fd, size_of(message->msg_iov, message->msg_iovlen)))
WRAP(WRITE_FILE, ssize_t, sendfile, (int to, int from, off_t *at, size_t count), (to, from, at, count), to, count = before_sending(to, count))
WRAP(WRITE_FILE, ssize_t, sendfile64, (int to, int from, off64_t *at, size_t count), (to, from, at, count), to, count = before_sending(to, count))
