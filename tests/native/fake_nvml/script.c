#include "fake_nvml.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

_Noreturn void die(const char *what, const char *detail)
{
    fprintf(stderr, "fake_nvml: %s: %s\n", what, detail);
    abort();
}

/* ---- the logs ---- */

static void add(const char *variable, const char *line)
{
    const char *path = getenv(variable);
    size_t length = strlen(line);
    if (path == NULL)
        return;
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0)
        die(path, strerror(errno));
    if (write(fd, line, length) != (ssize_t)length || close(fd) != 0)
        die(path, strerror(errno));
}

void log_line(const char *what)
{
    char line[32];
    (void)snprintf(line, sizeof line, "%s\n", what);
    add("FAKE_NVML_LOG", line);
}

void log_call(const char *function)
{
    char line[96];
    (void)snprintf(line, sizeof line, "%ld %s\n", syscall(SYS_gettid), function);
    add("FAKE_NVML_CALLS", line);
}

/* ---- the script ---- */

static void parse_uuid(struct scripted *scripted, const char *word)
{
    for (; *word != '\0'; word++) {
        if (scripted->uuid_bytes + 1 >= UUID_BYTES_MAX)
            die("UUID is too long", word);
        bool nul = word[0] == '\\' && word[1] == '0';
        scripted->uuid[scripted->uuid_bytes++] = nul ? '\0' : *word;
        word += nul;
    }
}

static void parse_flag(struct scripted *scripted, const char *flag)
{
    const struct {
        const char *name;
        bool *place;
    } flags[] = {
        {"v1", &scripted->v1},         {"lost", &scripted->lost},
        {"moved", &scripted->moved},   {"denied", &scripted->denied},
        {"mig", &scripted->mig},       {"noprocesses3", &scripted->noprocesses3},
    };
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (strcmp(flag, flags[i].name) == 0) {
            *flags[i].place = true;
            return;
        }
    if (sscanf(flag, "bus=%u", &scripted->bus) != 1 &&
        sscanf(flag, "processes=%d", &scripted->processes_code) != 1)
        die("no such flag", flag);
}

static struct scripted *last(struct script *script, const char *line)
{
    if (script->count == 0)
        die("there is no device above", line);
    return &script->devices[script->count - 1];
}

/* Behind the word that says which it is. */
static void parse_device(struct script *script, char *line, bool instance)
{
    int parent = -1;
    if (script->count == DEVICES_MAX)
        die("too many devices", line);
    if (instance) {
        const struct scripted *above = last(script, line);
        parent = above->parent >= 0 ? above->parent : (int)script->count - 1;
        script->devices[parent].mig = true;
    }
    struct scripted *scripted = &script->devices[script->count];
    scripted->place = script->count++;
    char *rest = NULL, *word = strtok_r(line, " \t\r\n", &rest);
    if (word == NULL)
        die("a device without UUID", "");
    parse_uuid(scripted, word);
    uint64_t *const sizes[] = {&scripted->total, &scripted->used, &scripted->reserved};
    for (size_t i = 0; i < 3; i++) {
        word = strtok_r(NULL, " \t\r\n", &rest);
        if (word == NULL || sscanf(word, "%lu", sizes[i]) != 1)
            die("a device lacks its sizes", scripted->uuid);
    }
    scripted->parent = parent;
    while ((word = strtok_r(NULL, " \t\r\n", &rest)) != NULL)
        parse_flag(scripted, word);
}

static void parse_process(struct scripted *scripted, const char *line)
{
    char pid[16], bytes[24];
    if (scripted->process_count == PROCESSES_MAX || sscanf(line, "%15s %23s", pid, bytes) != 2)
        die("not understood, or too many: process", line);
    struct process *process = &scripted->processes[scripted->process_count++];
    process->bytes = NOT_AVAILABLE;
    bool self = strcmp(pid, "self") == 0;
    if ((!self && sscanf(pid, "%u", &process->pid) != 1) ||
        (strcmp(bytes, "n/a") != 0 && sscanf(bytes, "%lu", &process->bytes) != 1))
        die("not understood: process", line);
    if (self)
        process->pid = (unsigned)getpid();
}

static void parse_step(struct scripted *scripted, const char *line)
{
    unsigned i = scripted->step_count++;
    if (i >= STEPS_MAX ||
        sscanf(line, "%ld %lu", &scripted->steps[i].after_ms, &scripted->steps[i].used) != 2)
        die("not understood, or too many: step", line);
}

static void parse(struct script *script, char *line)
{
    if (line[0] == '#' || line[strspn(line, " \t\r\n")] == '\0')
        return;
    if (strncmp(line, "device ", 7) == 0)
        parse_device(script, line + 7, false);
    else if (strncmp(line, "instance ", 9) == 0)
        parse_device(script, line + 9, true);
    else if (strncmp(line, "process ", 8) == 0)
        parse_process(last(script, line), line + 8);
    else if (strncmp(line, "step ", 5) == 0)
        parse_step(last(script, line), line + 5);
    else if (strncmp(line, "grow ", 5) == 0) {
        if (sscanf(line, "grow %lu", &last(script, line)->grow) != 1)
            die("not understood", line);
    } else if (sscanf(line, "init %d", &script->init) != 1 &&
               sscanf(line, "sleep_ms %ld", &script->sleep_ms) != 1 &&
               sscanf(line, "burn_us %ld", &script->burn_us) != 1 &&
               sscanf(line, "processes_sleep_ms %ld", &script->processes_sleep_ms) != 1)
        die("not understood", line);
}

static void parse_file(struct script *script, const char *path)
{
    char line[512];
    FILE *file = fopen(path, "re");
    if (file == NULL)
        die(path, strerror(errno));
    memset(script, 0, sizeof *script);
    while (fgets(line, sizeof line, file) != NULL)
        parse(script, line);
    if (ferror(file) != 0 || fclose(file) != 0)
        die(path, "cannot be read");
}

/* Parsed once a version of the file: reading it must not cost more than what a
 * driver does. */
void script_read(struct script *script)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct script known; /* guarded by lock, as are the next two */
    static struct stat seen;
    static pid_t pid; /* "self" means another one after a fork */
    const char *path = getenv("FAKE_NVML_SCRIPT");
    struct stat now;
    if (path == NULL)
        die("FAKE_NVML_SCRIPT", "is not set");
    if (stat(path, &now) != 0)
        die(path, strerror(errno));
    if (pthread_mutex_lock(&lock) != 0)
        die("lock", "failed");
    if (pid != getpid() || now.st_ino != seen.st_ino || now.st_size != seen.st_size ||
        now.st_mtim.tv_sec != seen.st_mtim.tv_sec || now.st_mtim.tv_nsec != seen.st_mtim.tv_nsec) {
        parse_file(&known, path);
        seen = now;
        pid = getpid();
    }
    *script = known;
    if (pthread_mutex_unlock(&lock) != 0)
        die("lock", "failed");
}
