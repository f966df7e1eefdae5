/* Fuzzes the static launcher: its environment, its standard input and what its agent answers.
 *
 * An input is two lengths of two bytes, an environment, a standard input, and what the agent says.
 * `scripts/fuzz-launcher.sh` builds and runs this with libFuzzer.
 */

#define ACCEPT_MS 5000
#define main launcher_main
#include "../../launchers/amd-host-device.c"
#undef main

#include <stdio.h>

enum { MAX_VARIABLES = 64, SOCKET_BUFFER = 1 << 17 };

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

#define claim(truth) ((truth) ? (void)0 : fail_claim(#truth, __LINE__))

static void fail_claim(const char *claimed, int line) {
    fprintf(stderr, "line %d: not so: %s (errno %d)\n", line, claimed, errno);
    abort();
}

/* Cuts `length` bytes, or as many as there are, from the front of the data. */
static size_t cut(size_t length, size_t *size) {
    size_t taken = length < *size ? length : *size;
    *size -= taken;
    return taken;
}

/* What the protocol says of these bytes: whether they have an answer, and where. */
static bool find_answer(const unsigned char *said, size_t size, const unsigned char **answer) {
    size_t start;
    if (size >= 2 && said[0] == 'A' && said[1] == 'S') start = 2;
    else if (size >= 3 && said[0] == 'A' && said[1] == 'B' && said[2] == 'S') start = 3;
    else return false;
    if (size < start + 5) return false;
    *answer = said + start;
    uint64_t length = 0;
    for (int i = 4; i >= 1; i--) length = length << 8 | (*answer)[i];
    return length <= MAX_OUTPUT_BYTES && size - start - 5 >= length;
}

/* Whether the agent has received exactly what the protocol says, so far as the client got. */
static void judge_request(int end, const struct request *request, bool begun) {
    static unsigned char received[HEADER_BYTES + sizeof request->bytes];
    size_t rest = request->environment_length + request->stdin_length;
    size_t length = 0;
    ssize_t count;
    while ((count = recv(end, received + length, sizeof received - length, MSG_DONTWAIT)) > 0)
        length += (size_t)count;
    claim(length == HEADER_BYTES + (begun ? rest : 0));
    claim(memcmp(received, "amdcni\r\n\1\0\0\0\1\0\0\0", 16) == 0);
    claim(received[40] + received[41] * 256U == request->environment_length % 65536);
    claim(received[44] + received[45] * 256U == request->stdin_length % 65536);
    if (begun) claim(memcmp(received + HEADER_BYTES, request->bytes, rest) == 0);
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
    static struct request request;
    static char text[UINT16_MAX + 1];
    static char *variables[MAX_VARIABLES + 1];
    size_t lengths[2] = {0, 0};
    for (int i = 0; i < 2 && size >= 2; i++, data += 2, size -= 2)
        lengths[i] = (size_t)(data[0] | data[1] << 8);
    /* All of it fits into the buffers of the sockets, so that nobody waits for this one thread. */
    if (lengths[0] + lengths[1] + size > SOCKET_BUFFER) return -1;

    size_t length = cut(lengths[0], &size);
    memcpy(text, data, length);
    text[length] = 0;
    data += length;
    size_t count = 0;
    size_t expected = 0;
    for (char *each = text; each <= text + length && count < MAX_VARIABLES; count++) {
        variables[count] = each;
        if (strchr(each, '=') != NULL) expected += strlen(each) + 1;
        each += strlen(each) + 1;
    }
    variables[count] = NULL;
    environ = variables;

    int input[2];
    claim(pipe2(input, O_CLOEXEC) == 0);
    fcntl(input[1], F_SETPIPE_SZ, SOCKET_BUFFER);
    length = cut(lengths[1], &size);
    claim(write(input[1], data, length) == (ssize_t)length);
    close(input[1]);
    claim(dup2(input[0], STDIN_FILENO) == STDIN_FILENO);
    close(input[0]);

    claim(collect_environment(&request) && read_stdin(&request));
    claim(request.environment_length == expected && request.stdin_length == length);
    claim(memcmp(request.bytes + expected, data, length) == 0);
    data += length;

    int ends[2];
    claim(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    claim(send(ends[1], data, size, MSG_DONTWAIT) == (ssize_t)size);
    shutdown(ends[1], SHUT_WR);
    struct answer answer;
    const unsigned char *wanted = NULL;
    bool served = converse(ends[0], &request, &answer);
    claim(served == find_answer(data, size, &wanted));
    if (served) {
        claim(answer.status == wanted[0]);
        claim(answer.length == 0 || memcmp(answer.output, wanted + 5, answer.length) == 0);
        if (answer.length > 0) munmap(answer.output, answer.length);
    }
    judge_request(ends[1], &request, size >= 2 && data[0] == 'A' && data[1] == 'B');
    close(ends[0]);
    close(ends[1]);

    claim(give_stdin_back(&request));
    static unsigned char again[UINT16_MAX + 1];
    claim(read(STDIN_FILENO, again, sizeof again) == (ssize_t)request.stdin_length);
    claim(memcmp(again, request.bytes + expected, request.stdin_length) == 0);
    return 0;
}
