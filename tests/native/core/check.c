#include "check.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define PATIENCE_S 100u /* for one program; a test that hangs is a failed test */

static struct check_test *first, **last = &first;
static const char *running = "";

void check_register(struct check_test *test)
{
    *last = test;
    last = &test->next;
}

void check_failed(const char *file, int line, const char *format, ...)
{
    /* A test may have forbidden large files; the log may be one. */
    struct rlimit limit;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_FSIZE, &limit);
    }
    (void)fprintf(stderr, "%s:%d: in %s: ", file, line, running);
    va_list arguments;
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
    _exit(1);
}

static void hangs(int signal)
{
    (void)signal;
    (void)!write(STDERR_FILENO, running, strlen(running));
    (void)!write(STDERR_FILENO, ": hangs\n", 8);
    _exit(1);
}

/* Runs all tests, or those whose sentence contains the argument. */
int main(int count, char **words)
{
    unsigned done = 0;
    (void)signal(SIGALRM, hangs);
    (void)alarm(PATIENCE_S);
    for (const struct check_test *test = first; test != NULL; test = test->next) {
        if (count > 1 && strstr(test->sentence, words[1]) == NULL)
            continue;
        running = test->sentence;
        test->run();
        done++;
    }
    const char *name = strrchr(words[0], '/');
    while (name != NULL && name > words[0] && name[-1] != '/')
        name--; /* with the directory, which is the build */
    (void)printf("%-24s %3u passed\n", name != NULL ? name : words[0], done);
    return done == 0; /* a word that no sentence has is a mistake */
}
