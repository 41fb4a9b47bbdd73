/* Stands in for `claude`: answers `initialize`, and writes what it is told to when a prompt comes.
 *
 * The environment says what that is:
 *   EMIT_FILE=PATH      the file's bytes, in pieces of 64 KiB
 *   EMIT_TIMES=COUNT    how often: the file; lines where there is no file (default 1)
 *   EMIT_PAUSE=SECONDS  the pause between lines; each line tells when it was written
 *   EMIT_AT_ONCE=1      begins as soon as `initialize` is answered, without a prompt
 * Without EMIT_PAUSE and EMIT_FILE each prompt is answered by one line that tells when it came.
 * A time is CLOCK_MONOTONIC in nanoseconds, which Python's time.monotonic_ns() reads too.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char ANSWER[] =
    "{\"type\":\"control_response\",\"response\":{\"subtype\":\"success\",\"request_id\":\"%s\","
    "\"response\":{}}}\n";
static const char LINE[] =
    "{\"type\":\"assistant\",\"session_id\":\"11111111-2222-4333-8444-555555555555\","
    "\"parent_tool_use_id\":null,\"message\":{\"id\":\"msg_1\",\"role\":\"assistant\","
    "\"model\":\"m\",\"content\":[{\"type\":\"text\",\"text\":\"%lld\"}]}}\n";
static const char RESULT[] =
    "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"\",\"num_turns\":1,"
    "\"duration_ms\":1,\"duration_api_ms\":1,"
    "\"user_message_uuids\":[\"%.36s\"],"
    "\"session_id\":\"11111111-2222-4333-8444-555555555555\",\"total_cost_usd\":0,\"usage\":{}}\n"
    "{\"type\":\"system\",\"subtype\":\"session_state_changed\",\"state\":\"idle\"}\n";

static void put(const char *data, size_t size)
{
    while (size) {
        ssize_t done = write(1, data, size);
        if (done <= 0)
            exit(1);
        data += done, size -= done;
    }
}

static void say_time(struct timespec at)
{
    char line[512];
    put(line, snprintf(line, sizeof line, LINE, at.tv_sec * 1000000000LL + at.tv_nsec));
}

static void emit_file(const char *path, long times)
{
    static char piece[1 << 16];
    while (times--) {
        int file = open(path, O_RDONLY);
        for (ssize_t size; (size = read(file, piece, sizeof piece)) > 0;)
            put(piece, size);
        close(file);
    }
}

static void emit_lines(double pause, long times)
{
    struct timespec at, nap = {(time_t)pause, (long)((pause - (time_t)pause) * 1e9)};
    while (times--) {
        nanosleep(&nap, NULL);
        clock_gettime(CLOCK_MONOTONIC, &at);
        say_time(at);
    }
}

static void emit(const char *prompt, struct timespec came)
{
    char result[1024];
    const char *uuid = strstr(prompt, "\"uuid\":\"");
    const char *file = getenv("EMIT_FILE"), *pause = getenv("EMIT_PAUSE");
    const char *text = getenv("EMIT_TIMES");
    long times = text ? atol(text) : 1;
    if (file)
        emit_file(file, times);
    else if (pause)
        emit_lines(atof(pause), times);
    else
        say_time(came);
    if (file || pause)
        put(result, snprintf(result, sizeof result, RESULT, uuid ? uuid + 8 : ""));
}

static void answer(const char *line)
{
    char id[128], reply[512];
    const char *found = strstr(line, "\"request_id\":");
    found = found ? strchr(found + 13, '"') : NULL;
    if (!found || sscanf(found, "\"%127[^\"]", id) != 1)
        exit(2);
    put(reply, snprintf(reply, sizeof reply, ANSWER, id));
}

int main(int count, char **words)
{
    char *line = NULL;
    size_t size = 0;
    int at_once = getenv("EMIT_AT_ONCE") != NULL;
    struct timespec came;
    if (count == 2 && (!strcmp(words[1], "-v") || !strcmp(words[1], "--version"))) {
        puts("2.1.330 (Claude Code)");
        return 0;
    }
    while (getline(&line, &size, stdin) > 0) {
        clock_gettime(CLOCK_MONOTONIC, &came);
        if (strstr(line, "\"control_request\""))
            answer(line);
        if (at_once || strstr(line, "\"type\":\"user\"") || strstr(line, "\"type\": \"user\""))
            emit(line, came);
        at_once = 0;
    }
    return 0;
}
