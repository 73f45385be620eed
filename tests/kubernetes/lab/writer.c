/* A client in a pod: clients that write unique values through a Service, and remember every answer.
 *
 *     writer HOST PORT USER PASSWORD CLIENTS WRITES_PER_SECOND PATIENCE_SECONDS JOURNAL
 *
 * It does what demo/writer.py does, in C, since an image without Python is a tenth as large. Each line of the journal is
 * one write: SECONDS CLIENT NUMBER ok|failed. A failed write is never sent again under its number. An error of the
 * server leaves the connection as it is: only who is disconnected looks for the Service again. When it began to
 * look and how that ended is a line of three words: SECONDS CLIENT connected|not-connected|not-accepted. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <time.h>
#include <unistd.h>

/* Whoever failed tries again at once, or its own pace would be a part of every gap; later it takes its turn again. */
#define RETRY_SECONDS 0.002
#define QUICK_RETRIES 100

static struct addrinfo *place;
static const char *user, *password;
static double step;
static long patience_seconds;
static FILE *journal;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void wait_until(double due)
{
    double left = due - now();
    if (left > 0)
        usleep((useconds_t)(left * 1e6));
}

static int open_connection(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), error = 0, on = 1;
    socklen_t size = sizeof error;
    struct pollfd ready = {fd, POLLOUT, 0};
    struct timeval patience = {patience_seconds, 0};
    if (fd < 0)
        return -1;
    if (connect(fd, place->ai_addr, place->ai_addrlen) < 0 && errno != EINPROGRESS)
        goto failed;
    if (poll(&ready, 1, 1000) != 1 || getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) || error)
        goto failed;
    fcntl(fd, F_SETFL, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
failed:
    close(fd);
    return -1;
}

/* 1 for +OK, 0 for an error of the server, -1 if the connection broke. */
static int ask(int fd, const char *text)
{
    char answer[512];
    size_t length = 0;
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
        return -1;
    while (length < sizeof answer - 1) {
        ssize_t got = recv(fd, answer + length, sizeof answer - 1 - length, 0);
        if (got <= 0)
            return -1;
        length += (size_t)got;
        if (answer[length - 1] == '\n')
            return strncmp(answer, "+OK", 3) == 0;
    }
    return -1;
}

static void note(long client, double began, const char *how)
{
    flockfile(journal);
    fprintf(journal, "%.6f %ld %s\n", began, client, how);
    funlockfile(journal);
}

static int connected(long client)
{
    char login[512];
    double began = now();
    int fd = open_connection();
    snprintf(login, sizeof login, "AUTH %s %s\r\n", user, password);
    if (fd < 0) {
        note(client, began, "not-connected");
        return -1;
    }
    if (ask(fd, login) != 1) {
        note(client, began, "not-accepted");
        close(fd);
        return -1;
    }
    note(client, began, "connected");
    return fd;
}

static void *client(void *argument)
{
    double due = now();
    /* Microseconds: a writer that came before or comes later has other numbers, so nobody's write stands for another's. */
    long me = (long)argument, number = (long)(due * 1e6);
    int fd = -1, failures = 0;
    for (;;) {
        char command[128];
        int answer = -1;
        double answered;
        number++;
        if (fd < 0)
            fd = connected(me);
        if (fd >= 0) {
            snprintf(command, sizeof command, "SET demo:%ld:%ld %ld\r\n", me, number, number);
            answer = ask(fd, command);
            if (answer < 0) {
                close(fd);
                fd = -1;
            }
        }
        answered = now();
        flockfile(journal);
        fprintf(journal, "%.6f %ld %ld %s\n", answered, me, number, answer == 1 ? "ok" : "failed");
        fflush(journal);
        funlockfile(journal);
        failures = answer == 1 ? 0 : failures + 1;
        due = failures ? answered + (failures > QUICK_RETRIES ? step : RETRY_SECONDS) : due + step;
        if (due < answered)
            due = answered;
        wait_until(due);
    }
    return NULL;
}

int main(int count, char **words)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM};
    long clients, each;
    pthread_t thread;
    if (count != 9)
        return 2;
    user = words[3], password = words[4];
    clients = atol(words[5]);
    step = (double)clients / atof(words[6]);
    patience_seconds = atol(words[7]);
    journal = fopen(words[8], "w");
    if (!journal)
        return 2;
    while (getaddrinfo(words[1], words[2], &hints, &place))
        usleep(100000);
    for (each = 0; each < clients; each++)
        if (pthread_create(&thread, NULL, client, (void *)each))
            return 2;
    for (;;)
        pause();
}
