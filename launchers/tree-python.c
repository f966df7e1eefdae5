/* An executable of the self-contained tree: starts the Python of the tree in which it lies.
 *
 * The program header of an executable can name its dynamic linker only by an absolute path, and a
 * tree lies anywhere.  So this one, which needs neither, finds the tree by /proc/self/exe and
 * executes the tree's dynamic linker, which loads the tree's interpreter with the tree's libraries.
 *
 * NAME is the name of this file in the tree's bin.  With COMMAND it does not start a bare
 * interpreter, but the program of that name, isolated as by the launcher in sh, which says why.
 */

#define _GNU_SOURCE
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef NAME
#define NAME "python3"
#endif

static const char BROKEN[] = NAME ": the tree of amdcni around it is not complete, or /proc is not mounted\n";

/* What a runtime gets instead, as of any failure. */
static const char BROKEN_OBJECT[] =
    "{\"cniVersion\":\"1.1.0\",\"code\":50,\"msg\":\"the tree of amdcni is not complete, or /proc is "
    "not mounted\",\"details\":\"Install amdcni again, and look whether it can be executed.\"}\n";

#ifdef COMMAND
static const char PROGRAM[] =
    "import sys\n"
    "sys.path.append(sys.executable.rsplit(\"/\", 2)[0] + \"/lib/python%d.%d/site-packages\" % "
    "sys.version_info[:2])\n"
    "from amdcni.cli import run\n"
    "run()\n";
#endif

extern char **environ;

/* The folder above that of this executable, without the last slash; "" for the root. */
static char *tree(void) {
    static char path[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path);
    if (length <= 0 || (size_t)length >= sizeof path) return NULL;
    for (int parts = 0; parts < 2; parts++) {
        while (length > 0 && path[length - 1] != '/') length--;
        if (length == 0) return NULL;
        length--;
    }
    path[length] = '\0';
    return path;
}

static char *join(const char *folder, const char *name) {
    size_t length = strlen(folder), with_zero = strlen(name) + 1;
    char *joined = malloc(length + with_zero);
    if (joined == NULL) return NULL;
    memcpy(joined, folder, length);
    memcpy(joined + length, name, with_zero);
    return joined;
}

static _Noreturn void fail(void) {
    const char *message = BROKEN;
    size_t length = sizeof BROKEN - 1;
    int fd = STDERR_FILENO;
    if (getenv("CNI_COMMAND") != NULL) {
        message = BROKEN_OBJECT;
        length = sizeof BROKEN_OBJECT - 1;
        fd = STDOUT_FILENO;
    }
    ssize_t written = write(fd, message, length);
    _exit(written == (ssize_t)length ? 1 : 2);
}

int main(int argc, char **argv) {
    const char *root = tree();
    if (root == NULL || argc < 0) fail();
    /* The link gives the process its name in `ps`. */
    char *linker = join(root, "/lib/start/" NAME);
    char *python = join(root, "/bin/python3");
    char *libraries = join(root, "/lib");
    char *interpreter = join(root, "/lib/python3");
    const char *const first[] = {
        /* The first one is what `ps` shows; Python gets the next one, as sys.executable. */
        join(root, "/bin/" NAME),
        "--argv0",
        python,
        /* Neither the host's cache nor LD_LIBRARY_PATH leads to the libraries of another system. */
        "--inhibit-cache",
        "--library-path",
        libraries,
        interpreter,
#ifdef COMMAND
        "-I",
        "-S",
        "-c",
        PROGRAM,
#endif
    };
    enum { FIRST = sizeof first / sizeof first[0] };
    const char **all = calloc(FIRST + (size_t)argc + 1, sizeof *all);
    if (linker == NULL || python == NULL || libraries == NULL || interpreter == NULL || all == NULL)
        fail();
    memcpy(all, first, sizeof first);
    for (int i = 1; i < argc; i++) all[FIRST + i - 1] = argv[i];
    execve(linker, (char *const *)(uintptr_t)all, environ);
    fail();
}
