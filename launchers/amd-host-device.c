/* The static launcher: forwards a call to the node's agent, and executes the plugin without it.
 *
 * docs/reference/agent-protocol.md describes the protocol; amdcni_shim/client.py and
 * amdcni_shim/start.py do the same in Python.  Where the agent cannot serve the call, the python3 of
 * its tree does, or else that in the folder of this executable, isolated as by the launcher in sh,
 * which says why.
 *
 * It is to start fast and in little memory, hence no stdio, no malloc, and no library at run time.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Tests compile with a socket and times of their own; no variable and no argument changes them. */
#ifndef AGENT_SOCKET
#define AGENT_SOCKET "/run/amdcni/agent.sock"
#endif
#ifndef ACCEPT_MS
#define ACCEPT_MS 1000
#endif
#ifndef BEGIN_MS
#define BEGIN_MS 5000
#endif
#ifndef ANSWER_MS
#define ANSWER_MS 240000
#endif

enum {
    BEGIN_MARGIN_MS = 1000,
    PROTOCOL = 1,
    CALL = 1,
    HAS_NETNS = 1,
    HEADER_BYTES = 56,
    MAX_ENVIRONMENT_BYTES = 1024 * 1024,
    MAX_STDIN_BYTES = 1024 * 1024 + 1,
    MAX_OUTPUT_BYTES = 16 * 1024 * 1024,
    MAX_FDS = 3,
};

static const char VERSION_ANSWER[] =
    "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":"
    "[\"0.1.0\",\"0.2.0\",\"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n";

static const char BESIDE[] = "python3";

/* TREE is the name of the self-contained tree that this launcher was built for.  It starts that
 * tree's Python from the folder of plugins, where other launchers' trees may lie as well. */
#ifdef TREE
static const char IN_TREE[] = ".amdcni/" TREE "/bin/python3";
static const char NO_PYTHON[] =
    "{\"cniVersion\":\"1.1.0\",\"code\":50,\"msg\":\"amd-host-device has neither a python3 nor its "
    "tree .amdcni/" TREE " beside it\",\"details\":\"Install amdcni again.\"}\n";
#else
static const char NO_PYTHON[] =
    "{\"cniVersion\":\"1.1.0\",\"code\":50,\"msg\":\"amd-host-device has no python3 beside it\","
    "\"details\":\"Install amdcni in a virtual environment and link to the amd-host-device there "
    "instead of copying it.\"}\n";
#endif

static const char NOT_STARTED[] =
    "{\"cniVersion\":\"1.1.0\",\"code\":50,\"msg\":\"amd-host-device cannot start its python3\","
    "\"details\":\"Look whether it can be executed, and whether memory is short.\"}\n";

static const char ENDED_BY_SIGTERM[] =
    "{\"cniVersion\":\"1.1.0\",\"code\":11,\"msg\":\"ended by SIGTERM before the work was done\"}\n";

static const char ENDED_BY_SIGINT[] =
    "{\"cniVersion\":\"1.1.0\",\"code\":11,\"msg\":\"ended by SIGINT before the work was done\"}\n";

/* The program of the launcher in sh, character for character. */
static const char PROGRAM[] =
    "\n"
    "import sys\n"
    "folder = sys.executable.rsplit(\"/\", 2)[0] + \"/lib/python%d.%d/site-packages\" % "
    "sys.version_info[:2]\n"
    "if folder[0] == \"/\":\n"
    "    sys.path.append(folder)\n"
    "try:\n"
    "    from amdcni_shim.start import run\n"
    "except ImportError:\n"
    "    import site\n"
    "    site.main()\n"
    "    from amdcni_shim.start import run\n"
    "run()\n";

extern char **environ;

/* What follows the header: the environment and, directly behind it, standard input. */
struct request {
    size_t environment_length;
    size_t stdin_length;
    unsigned char bytes[MAX_ENVIRONMENT_BYTES + MAX_STDIN_BYTES];
};

/* Standard error, the current folder, and the network namespace of CNI_NETNS if there is one. */
struct descriptors {
    int fds[MAX_FDS];
    size_t count;
};

struct answer {
    unsigned char status;
    size_t length;
    unsigned char *output;
};

/* Writes everything and ends the process: with 1 if the runtime has gone without reading it. */
static _Noreturn void end(int status, const void *output, size_t length) {
    const unsigned char *rest = output;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    while (length > 0) {
        ssize_t written = write(STDOUT_FILENO, rest, length);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) _exit(1);
        rest += written;
        length -= (size_t)written;
    }
    _exit(status);
}

/* Answers the runtime that asks this process to end; until then it has only read and waited. */
static void fail(int number) {
    if (number == SIGTERM) end(1, ENDED_BY_SIGTERM, sizeof ENDED_BY_SIGTERM - 1);
    end(1, ENDED_BY_SIGINT, sizeof ENDED_BY_SIGINT - 1);
}

/* Keeps the socket from taking the place of a closed stdin or stderr. */
static void hold_standard_descriptors(void) {
    /* Without a stdout nothing is done. */
    if (fcntl(STDOUT_FILENO, F_GETFD) < 0) _exit(1);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) _exit(1);
}

/* Copies the variables as the agent wants them; false if they are too large. */
static bool collect_environment(struct request *request) {
    size_t length = 0;
    for (char **each = environ; *each != NULL; each++) {
        if (strchr(*each, '=') == NULL) continue;
        size_t with_zero = strlen(*each) + 1;
        if (with_zero > MAX_ENVIRONMENT_BYTES - length) return false;
        memcpy(request->bytes + length, *each, with_zero);
        length += with_zero;
    }
    request->environment_length = length;
    return true;
}

static bool read_stdin(struct request *request) {
    unsigned char *to = request->bytes + request->environment_length;
    size_t length = 0;
    while (length < MAX_STDIN_BYTES) {
        ssize_t count = read(STDIN_FILENO, to + length, MAX_STDIN_BYTES - length);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return false;
        if (count == 0) break;
        length += (size_t)count;
    }
    request->stdin_length = length;
    return true;
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* After a transfer that returned `result`: whether to try it again, at once or after a wait. */
static bool may_retry(ssize_t result, int agent, short events, int64_t deadline) {
    if (result >= 0) return result > 0;
    if (errno == EINTR) return true;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return false;
    int64_t left = deadline - now_ms();
    if (left <= 0) return false;
    struct pollfd waiting = {.fd = agent, .events = events};
    /* An interrupted or too early end of the wait is harmless: the transfer is only tried again. */
    return poll(&waiting, 1, left > INT_MAX ? INT_MAX : (int)left) >= 0 || errno == EINTR;
}

static bool receive(int agent, void *data, size_t length, int64_t deadline) {
    unsigned char *to = data;
    while (length > 0) {
        if (now_ms() >= deadline) return false;
        ssize_t count = recv(agent, to, length, MSG_DONTWAIT);
        if (!may_retry(count, agent, POLLIN, deadline)) return false;
        if (count > 0) {
            to += count;
            length -= (size_t)count;
        }
    }
    return true;
}

/* Sends everything, the descriptors, if there are any, with the first byte. */
static bool send_all(int agent, unsigned char *data, size_t length, const struct descriptors *opened,
                     int64_t deadline) {
    union {
        struct cmsghdr alignment;
        unsigned char bytes[CMSG_SPACE(sizeof opened->fds)];
    } control;
    struct iovec part;
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (opened != NULL) {
        size_t size = opened->count * sizeof opened->fds[0];
        memset(&control, 0, sizeof control);
        message.msg_control = control.bytes;
        /* musl has another type here than glibc. */
        message.msg_controllen = (socklen_t)CMSG_SPACE(size);
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = (socklen_t)CMSG_LEN(size);
        memcpy(CMSG_DATA(rights), opened->fds, size);
    }
    while (length > 0) {
        if (now_ms() >= deadline) return false;
        part = (struct iovec){.iov_base = data, .iov_len = length};
        ssize_t count = sendmsg(agent, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (!may_retry(count, agent, POLLOUT, deadline)) return false;
        if (count > 0) {
            data += count;
            length -= (size_t)count;
            message.msg_control = NULL;
            message.msg_controllen = 0;
        }
    }
    return true;
}

static unsigned char *put(unsigned char *to, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++, value >>= 8) *to++ = (unsigned char)(value & 0xff);
    return to;
}

/* The namespace at `path`, or -1.  All namespaces have one device number, `nsfs`; anything else is
 * not opened, because that might do something. */
static int open_netns(const char *path, dev_t nsfs) {
    struct stat found;
    if (path == NULL || stat(path, &found) < 0 || found.st_dev != nsfs) return -1;
    return open(path, O_RDONLY | O_CLOEXEC);
}

/* Opens what the agent gets; `own` is this process's network namespace. */
static bool open_descriptors(struct descriptors *opened, const struct stat *own) {
    opened->fds[0] = STDERR_FILENO;
    opened->fds[1] = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (opened->fds[1] < 0) return false;
    opened->fds[2] = open_netns(getenv("CNI_NETNS"), own->st_dev);
    opened->count = opened->fds[2] < 0 ? 2 : 3;
    return true;
}

static void close_descriptors(const struct descriptors *opened) {
    for (size_t i = 1; i < opened->count; i++) close(opened->fds[i]);
}

static void fill_header(unsigned char header[HEADER_BYTES], const struct request *request,
                        const struct descriptors *opened, const struct stat *own) {
    mode_t mask = umask(077);
    umask(mask);
    memset(header, 0, HEADER_BYTES);
    memcpy(header, "amdcni\r\n", 8);
    unsigned char *to = put(header + 8, PROTOCOL, 4);
    to = put(to, CALL, 4);
    to = put(to, BEGIN_MS, 4);
    to = put(to, mask, 4);
    to = put(to, own->st_dev, 8);
    to = put(to, own->st_ino, 8);
    to = put(to, request->environment_length, 4);
    to = put(to, request->stdin_length, 4);
    put(to, opened->count == MAX_FDS ? HAS_NETNS : 0, 4);
}

static bool receive_answer(int agent, struct answer *answer, int64_t deadline) {
    unsigned char start[5];
    if (!receive(agent, start, sizeof start, deadline)) return false;
    uint32_t length = (uint32_t)start[1] | (uint32_t)start[2] << 8 | (uint32_t)start[3] << 16 |
                      (uint32_t)start[4] << 24;
    if (length > MAX_OUTPUT_BYTES) return false;
    answer->status = start[0];
    answer->length = length;
    answer->output = NULL;
    if (length == 0) return true;
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    answer->output = memory;
    if (receive(agent, memory, length, deadline)) return true;
    munmap(memory, length);
    return false;
}

static bool converse_with(int agent, struct request *request, const struct descriptors *opened,
                          const struct stat *own, struct answer *answer) {
    unsigned char header[HEADER_BYTES];
    unsigned char said;
    fill_header(header, request, opened, own);
    if (!send_all(agent, header, sizeof header, NULL, now_ms() + ACCEPT_MS)) return false;
    if (!receive(agent, &said, 1, now_ms() + ACCEPT_MS) || said != 'A') return false;
    if (!receive(agent, &said, 1, now_ms() + BEGIN_MS + BEGIN_MARGIN_MS)) return false;
    int64_t deadline = now_ms() + ANSWER_MS;
    if (said == 'B') {
        size_t length = request->environment_length + request->stdin_length;
        if (!send_all(agent, request->bytes, length, opened, deadline)) return false;
        if (!receive(agent, &said, 1, deadline)) return false;
    }
    return said == 'S' && receive_answer(agent, answer, deadline);
}

/* One call over the connection `agent`; false means to do the work without the agent. */
static bool converse(int agent, struct request *request, struct answer *answer) {
    struct stat own;
    struct descriptors opened;
    if (stat("/proc/self/ns/net", &own) < 0 || !open_descriptors(&opened, &own)) return false;
    bool served = converse_with(agent, request, &opened, &own, answer);
    close_descriptors(&opened);
    return served;
}

/* Whether the other end belongs to root or to this process's user. */
static bool is_trusted(int agent) {
    struct ucred other;
    socklen_t length = sizeof other;
    return getsockopt(agent, SOL_SOCKET, SO_PEERCRED, &other, &length) == 0 &&
           (other.uid == 0 || other.uid == geteuid());
}

static bool forward(struct request *request, struct answer *answer) {
    const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = AGENT_SOCKET};
    /* Non-blocking: if too many wait already, connect() does not wait. */
    int agent = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (agent < 0) return false;
    bool served = connect(agent, (const struct sockaddr *)&address, sizeof address) == 0 &&
                  is_trusted(agent) && converse(agent, request, answer);
    close(agent);
    return served;
}

/* Makes what has been read from standard input readable there again. */
static bool give_stdin_back(const struct request *request) {
    const unsigned char *rest = request->bytes + request->environment_length;
    size_t length = request->stdin_length;
    int file = memfd_create("stdin", MFD_CLOEXEC);
    if (file < 0) return false;
    while (length > 0) {
        ssize_t written = write(file, rest, length);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return false;
        rest += written;
        length -= (size_t)written;
    }
    bool given = lseek(file, 0, SEEK_SET) == 0 && dup2(file, STDIN_FILENO) == STDIN_FILENO;
    close(file);
    return given;
}

/* Whether something that can be executed is called `name` at the end of `path`, which has room. */
static bool is_there(const char *path, char *end_of_path, const char *name, size_t size) {
    memcpy(end_of_path, name, size);
    return access(path, X_OK) == 0;
}

/* Becomes the python3 of this executable's environment or tree, which does the work alone. */
static _Noreturn void become_python(void) {
    static char path[PATH_MAX + 256];
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
    while (length > 0 && path[length - 1] != '/') length--;
    if (length <= 0) end(1, NO_PYTHON, sizeof NO_PYTHON - 1);
    bool found = false;
#ifdef TREE
    /* First, because a python3 in the folder of plugins may be anybody's. */
    _Static_assert(sizeof IN_TREE <= sizeof path - PATH_MAX, "the name of the tree is too long");
    found = is_there(path, path + length, IN_TREE, sizeof IN_TREE);
#endif
    if (!found && !is_there(path, path + length, BESIDE, sizeof BESIDE)) end(1, NO_PYTHON, sizeof NO_PYTHON - 1);
    const char *const argv[] = {path, "-I", "-S", "-c", PROGRAM, "--alone", NULL};
    execve(path, (char *const *)(uintptr_t)argv, environ);
    end(1, NOT_STARTED, sizeof NOT_STARTED - 1);
}

int main(int argc, char **argv) {
    static struct request request;
    struct answer answer;
    hold_standard_descriptors();
    const char *command = getenv("CNI_COMMAND");
    bool alone = argc > 1 && strcmp(argv[1], "--alone") == 0;
    if (command != NULL && strcmp(command, "VERSION") == 0)
        end(0, VERSION_ANSWER, sizeof VERSION_ANSWER - 1);
    if (command == NULL || alone) become_python();
    signal(SIGTERM, fail);
    signal(SIGINT, fail);
    /* Python shows what is wrong with an input that cannot be read. */
    if (!collect_environment(&request) || !read_stdin(&request)) become_python();
    if (forward(&request, &answer)) end(answer.status, answer.output, answer.length);
    if (!give_stdin_back(&request)) end(1, NOT_STARTED, sizeof NOT_STARTED - 1);
    become_python();
}
