// Lets elkyn-leakcheck measure functions of a native program. In one source file of it, C or C++:
//
//     #include <leakcheck.h>
//
//     static void encode_and_free(void) { ... }  // one iteration
//
//     LEAKCHECK_STEP(encode_and_free)
//     LEAKCHECK_MAIN
//
// Then: elkyn-leakcheck run ./program
//
// Each step is a scenario. Set-up is what happens before main(), or at the first call. It answers List, Open,
// Run and Close of the protocol (docs/protocol.md), needs glibc 2.33 or newer, and reads the bytes in use in
// malloc, the descriptors and the threads. One thread; what a step does in others, it waits for.
#ifndef LEAKCHECK_H
#define LEAKCHECK_H

#ifndef _GNU_SOURCE
#error "define _GNU_SOURCE before the first include (g++ does), or compile with -D_GNU_SOURCE"
#endif

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// The version of the protocol that is spoken here.
#define LEAKCHECK_VERSION 11
// The longest name of a step, with its end.
#define LEAKCHECK_NAME 256

struct leakcheck_step {
    const char* name;
    void (*call)(void);
    const char* file;
    int line;
    struct leakcheck_step* next;
};

static struct leakcheck_step* leakcheck_steps;

static inline void leakcheck_add(struct leakcheck_step* step) {
    struct leakcheck_step** end = &leakcheck_steps;
    while (*end) end = &(*end)->next;
    *end = step;
}

// Makes a function without arguments and result a scenario of its name.
#define LEAKCHECK_STEP(function)                                                                       \
    static struct leakcheck_step leakcheck_step_##function = {#function, function, __FILE__, __LINE__, \
                                                              NULL};                                   \
    __attribute__((constructor)) static void leakcheck_add_##function(void) {                          \
        leakcheck_add(&leakcheck_step_##function);                                                     \
    }

// The main() of a program that has nothing but steps.
#define LEAKCHECK_MAIN \
    int main(int argc, char** argv) { return leakcheck_serve(argc, argv); }

static inline double leakcheck_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline double leakcheck_heap(void) {
    struct mallinfo2 info = mallinfo2();
    return (double)(info.uordblks + info.hblkhd);
}

// How many names there are in a folder of the kernel's, less `own` that the look itself makes.
static inline double leakcheck_count(const char* folder, int own) {
    DIR* names = opendir(folder);
    int found = 0;
    if (!names) return 0;
    while (readdir(names)) ++found;
    closedir(names);
    return found - 2 - own;
}

// The text of a request's string of that number, counted from 0; cut where it is longer than `size`.
static inline void leakcheck_string(const char* request, int number, char* text, size_t size) {
    size_t length = 0;
    int at = -1, inside = 0;
    for (; *request && at <= number; ++request) {
        if (*request == '"') {
            inside = !inside;
            at += inside;
            if (!inside && at == number) break;
            continue;
        }
        if (*request == '\\' && request[1]) ++request;
        if (inside && at == number && length + 1 < size) text[length++] = *request;
    }
    text[length] = '\0';
}

// Answers with a text of ours, which has nothing to be escaped.
static inline void leakcheck_fail(FILE* replies, const char* during, const char* said) {
    fprintf(replies, "{\"failed\":[\"ProtocolError\",\"%s\",\"\",null,\"%s\",\"%s\",\"\"]}\n", said, during,
            said);
}

static inline void leakcheck_list(FILE* replies) {
    const struct leakcheck_step* step;
    fputs("[[", replies);
    for (step = leakcheck_steps; step; step = step->next) {
        const char* each = step->file;
        fprintf(replies, "%s[\"%s\",\"\",%d,\"", step == leakcheck_steps ? "" : ",", step->name, step->line);
        for (; *each; ++each) {
            if (*each == '"' || *each == '\\') fputc('\\', replies);
            fputc(*each, replies);
        }
        // Marked, and the last but one: native, so that valgrind is asked where it leaks.
        fputs("\",true,[],\"clean\",{},null,null,null,null,null,true]", replies);
    }
    fputs("]]\n", replies);
}

// Calls a step so often, and answers with the numbers of a reading: doubles, in hexadecimal digits.
static inline void leakcheck_run(FILE* replies, const struct leakcheck_step* step, double* iterations,
                                 long count) {
    double numbers[8], began = leakcheck_now();
    const unsigned char* bytes = (const unsigned char*)numbers;
    long left;
    size_t at;
    for (left = count; left > 0; --left) step->call();
    *iterations += (double)count;
    numbers[0] = *iterations;
    numbers[1] = leakcheck_now() - began;
    numbers[3] = 0;    // objects of cyclic garbage
    numbers[4] = NAN;  // the lowest reading after one of the calls: not taken
    numbers[5] = leakcheck_heap();
    numbers[6] = leakcheck_count("/proc/self/fd", 1);
    numbers[7] = leakcheck_count("/proc/self/task", 0);
    numbers[2] = leakcheck_now() - began;
    fputs("[\"", replies);
    for (at = 0; at < sizeof numbers; ++at) fprintf(replies, "%02x", bytes[at]);
    fputs("\",null]\n", replies);
}

// Has the kernel end this program, and what it has started, when the tool is gone, whatever runs here.
static inline void leakcheck_hold(int lifeline) {
    char byte;
    fcntl(lifeline, F_SETFD, FD_CLOEXEC);
    fcntl(lifeline, F_SETOWN, -getpgrp());
    fcntl(lifeline, F_SETSIG, SIGKILL);
    fcntl(lifeline, F_SETFL, fcntl(lifeline, F_GETFL) | O_ASYNC | O_NONBLOCK);
    if (read(lifeline, &byte, 1) == 0) raise(SIGKILL);  // before the kernel was asked
}

// Serves the tool that has started this program; returns the exit code. For a main() that does more, call it
// there.
static inline int leakcheck_serve(int argc, char** argv) {
    const int in = argc > 3 ? atoi(argv[1]) : 0, out = argc > 3 ? atoi(argv[2]) : 0;
    FILE* commands = in > 2 ? fdopen(in, "r") : NULL;
    FILE* replies = out > 2 ? fdopen(out, "w") : NULL;
    const struct leakcheck_step* open = NULL;
    char name[LEAKCHECK_NAME], text[LEAKCHECK_NAME];
    char* request = NULL;
    size_t size = 0;
    double iterations = 0;
    if (!commands || !replies) {
        fprintf(stderr, "This is a leakcheck-adapter: measure it by elkyn-leakcheck run %s\n", argv[0]);
        return 2;
    }
    leakcheck_hold(atoi(argv[3]));
    fcntl(in, F_SETFD, FD_CLOEXEC);
    fcntl(out, F_SETFD, FD_CLOEXEC);
    while (getline(&request, &size, commands) > 0) {
        leakcheck_string(request, 0, name, sizeof name);
        if (!strcmp(name, "Hello")) {
            const char* version = strchr(request, ',');
            if (version && atoi(version + 1) == LEAKCHECK_VERSION) continue;  // no answer to that
            leakcheck_fail(
                replies, name,
                "the program speaks another version of the protocol than the tool; compile it again, with "
                "the leakcheck.h of this tool");
        } else if (!strcmp(name, "List")) {
            leakcheck_list(replies);
        } else if (!strcmp(name, "Open")) {
            leakcheck_string(request, 2, text, sizeof text);
            for (open = leakcheck_steps; open && strcmp(open->name, text); open = open->next) continue;
            if (open)
                fputs("[[[\"heap.bytes\",\"B\"],[\"fds\",\"fds\"],[\"threads\",\"threads\"]]]\n", replies);
            else
                leakcheck_fail(replies, name, "the program has no step of that name");
        } else if (!strcmp(name, "Run") && open) {
            leakcheck_string(request, 1, text, sizeof text);
            leakcheck_run(replies, open, &iterations, atol(text));
        } else if (!strcmp(name, "Close") && open) {
            open = NULL;
            iterations = 0;
            fputs("[]\n", replies);
        } else {
            leakcheck_fail(replies, name, "the program does not answer that");
        }
        fflush(replies);
    }
    return 0;
}

#endif
