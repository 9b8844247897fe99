/*
 * A story for the C client (libzookeeper_mt): what applications in C, and all
 * bindings built on that library, use of the service.
 *
 *   story host:port [capture]
 *
 * Prints TAP ("ok 1 - ..."), exits with 0 if all is ok. Where the connection
 * is to be cut it prints CUT: whoever runs it puts a proxy in between and cuts
 * (see ../cclient_suite.py). "capture" sends fewer repeated requests, for the
 * byte vectors.
 */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <zookeeper/zookeeper.h>

#define SESSION_MS 10000
#define WAIT_S 15
#define PIPELINE 1000

static int tests, failures;

static void check(int ok, const char *what) {
    tests++;
    failures += !ok;
    printf("%s %d - %s\n", ok ? "ok" : "not ok", tests, what);
    fflush(stdout);
}

static void check_rc(int rc, int expected, const char *what) {
    check(rc == expected, what);
    if (rc != expected) {
        printf("#   got %d (%s), expected %d (%s)\n", rc, zerror(rc), expected,
               zerror(expected));
    }
}

/* ---- watch events, collected in the order they come ---------------------- */

struct event {
    int type;
    char path[128];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct event events[64];
static int event_count;
static int connected; /* how often the session became connected */

static void watcher(zhandle_t *zh, int type, int state, const char *path, void *context) {
    (void)zh;
    (void)context;
    pthread_mutex_lock(&lock);
    if (type == ZOO_SESSION_EVENT) {
        connected += state == ZOO_CONNECTED_STATE;
    } else if (event_count < 64) {
        events[event_count].type = type;
        snprintf(events[event_count].path, sizeof events[0].path, "%s", path);
        event_count++;
    }
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* Waits until *counter reaches a value; 0 after the deadline. */
static int await(const int *counter, int value) {
    struct timespec deadline;
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += WAIT_S;
    pthread_mutex_lock(&lock);
    int rc = 0;
    while (*counter < value && rc != ETIMEDOUT) {
        rc = pthread_cond_timedwait(&changed, &lock, &deadline);
    }
    int reached = *counter >= value;
    pthread_mutex_unlock(&lock);
    return reached;
}

/* The next event must be this one; events before it were checked before. */
static void check_event(int type, const char *path, const char *what) {
    static int seen;
    int there = await(&event_count, seen + 1);
    check(there && events[seen].type == type && strcmp(events[seen].path, path) == 0, what);
    if (there && (events[seen].type != type || strcmp(events[seen].path, path) != 0)) {
        printf("#   got %d %s\n", events[seen].type, events[seen].path);
    }
    seen += there;
}

/* ---- pipelined requests --------------------------------------------------- */

static int completed, out_of_order, completion_errors;

static void count_completion(int rc, const void *data) {
    long number = (long)data;
    pthread_mutex_lock(&lock);
    completion_errors += rc != ZOK;
    out_of_order += number != completed;
    completed++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void on_string(int rc, const char *value, const void *data) {
    (void)value;
    count_completion(rc, data);
}

static void on_stat(int rc, const struct Stat *stat, const void *data) {
    (void)stat;
    count_completion(rc, data);
}

static void on_data(int rc, const char *value, int length, const struct Stat *stat,
                    const void *data) {
    (void)value;
    (void)length;
    (void)stat;
    count_completion(rc, data);
}

static int synced = 1;
static void on_sync(int rc, const char *value, const void *data) {
    (void)value;
    (void)data;
    pthread_mutex_lock(&lock);
    synced = rc == ZOK ? 2 : 1;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static int authenticated, auth_rc;
static void on_auth(int rc, const void *data) {
    (void)data;
    pthread_mutex_lock(&lock);
    auth_rc = rc;
    authenticated++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* ---- chapters ------------------------------------------------------------- */

static struct ACL_vector *open_acl = &ZOO_OPEN_ACL_UNSAFE;

static void creates(zhandle_t *zh) {
    char path[128];
    struct Stat stat;
    check_rc(zoo_create(zh, "/c", "hello", 5, open_acl, 0, path, sizeof path), ZOK, "create");
    check(strcmp(path, "/c") == 0, "create gives the path");
    check_rc(zoo_create(zh, "/c", "x", 1, open_acl, 0, path, sizeof path), ZNODEEXISTS,
             "create again");
    check_rc(zoo_create(zh, "/absent/x", "x", 1, open_acl, 0, path, sizeof path), ZNONODE,
             "create without parent");
    check_rc(zoo_create(zh, "/c/null", NULL, -1, open_acl, 0, path, sizeof path), ZOK,
             "create without data");
    check_rc(zoo_create2(zh, "/c/eph", "e", 1, open_acl, ZOO_EPHEMERAL, path, sizeof path, &stat),
             ZOK, "create2 ephemeral");
    check(stat.ephemeralOwner == zoo_client_id(zh)->client_id, "owner is this session");
    check_rc(zoo_create(zh, "/c/eph/x", "x", 1, open_acl, 0, path, sizeof path),
             ZNOCHILDRENFOREPHEMERALS, "create below an ephemeral");
    zoo_create(zh, "/c/s-", "1", 1, open_acl, ZOO_PERSISTENT_SEQUENTIAL, path, sizeof path);
    check(strcmp(path, "/c/s-0000000002") == 0, "sequence counts all creates");
    zoo_create(zh, "/c/es-", "1", 1, open_acl, ZOO_EPHEMERAL_SEQUENTIAL, path, sizeof path);
    check(strcmp(path, "/c/es-0000000003") == 0, "ephemeral sequence goes on");
    check_rc(zoo_create2(zh, "/c/container", "c", 1, open_acl, ZOO_CONTAINER, path, sizeof path,
                         &stat),
             ZOK, "create2 container");
    check(stat.ephemeralOwner == 0, "a container shows no owner");
    check_rc(zoo_create2_ttl(zh, "/c/ttl", "t", 1, open_acl, ZOO_PERSISTENT_WITH_TTL, 3600000,
                             path, sizeof path, &stat),
             ZOK, "create2 with a time to live");
    check(stat.ephemeralOwner == 0, "a TTL node shows no owner");
    check_rc(zoo_create_ttl(zh, "/c/ts-", "t", 1, open_acl,
                            ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL, 3600000, path, sizeof path),
             ZOK, "create sequential with a time to live");
    check(strcmp(path, "/c/ts-0000000006") == 0, "its sequence, too");
}

static void reads_and_writes(zhandle_t *zh) {
    char buffer[64];
    int length = sizeof buffer;
    struct Stat stat, before;
    struct String_vector names = {0};
    check_rc(zoo_get(zh, "/c", 0, buffer, &length, &stat), ZOK, "get");
    check(length == 5 && memcmp(buffer, "hello", 5) == 0, "get gives the data");
    check(stat.numChildren == 7 && stat.cversion == 7 && stat.dataLength == 5, "and the Stat");
    before = stat;
    length = sizeof buffer;
    check_rc(zoo_get(zh, "/c/null", 0, buffer, &length, &stat), ZOK, "get without data");
    check(length == -1, "null data stay null");
    check_rc(zoo_set2(zh, "/c", "world!", 6, 0, &stat), ZOK, "set with its version");
    check(stat.version == 1 && stat.mzxid > before.mzxid && stat.czxid == before.czxid,
          "set raises version and mzxid");
    check_rc(zoo_set(zh, "/c", "x", 1, 0), ZBADVERSION, "set with an old version");
    check_rc(zoo_set(zh, "/absent", "x", 1, -1), ZNONODE, "set of nothing");
    check_rc(zoo_exists(zh, "/c", 0, &stat), ZOK, "exists");
    check(stat.version == 1 && stat.mtime >= stat.ctime, "exists gives the Stat");
    check_rc(zoo_exists(zh, "/absent", 0, &stat), ZNONODE, "exists not");
    check_rc(zoo_get_children(zh, "/c", 0, &names), ZOK, "get_children");
    check(names.count == 7, "all children");
    deallocate_String_vector(&names);
    check_rc(zoo_get_children2(zh, "/c/container", 0, &names, &stat), ZOK, "get_children2");
    check(names.count == 0 && stat.dataLength == 1, "no children, but a Stat");
    deallocate_String_vector(&names);
    check_rc(zoo_delete(zh, "/c", -1), ZNOTEMPTY, "delete with children");
    check_rc(zoo_delete(zh, "/c/null", 3), ZBADVERSION, "delete with a wrong version");
    check_rc(zoo_delete(zh, "/c/null", 0), ZOK, "delete");
    check_rc(zoo_delete(zh, "/c/null", -1), ZNONODE, "delete again");
    zoo_async(zh, "/c", on_sync, NULL);
    check(await(&synced, 2), "sync");
}

static void watches(zhandle_t *zh) {
    char path[64], buffer[64];
    int length = sizeof buffer;
    struct Stat stat;
    struct String_vector names = {0};
    zoo_create(zh, "/w", "", 0, open_acl, 0, path, sizeof path);
    zoo_wexists(zh, "/w/a", watcher, NULL, &stat);
    zoo_wget_children(zh, "/w", watcher, NULL, &names);
    deallocate_String_vector(&names);
    zoo_create(zh, "/w/a", "", 0, open_acl, 0, path, sizeof path);
    check_event(ZOO_CREATED_EVENT, "/w/a", "exists watch sees the create");
    check_event(ZOO_CHILD_EVENT, "/w", "child watch sees the create");
    zoo_wget(zh, "/w/a", watcher, NULL, buffer, &length, &stat);
    zoo_set(zh, "/w/a", "1", 1, -1);
    zoo_set(zh, "/w/a", "2", 1, -1);
    check_event(ZOO_CHANGED_EVENT, "/w/a", "data watch sees the set, once");
    length = sizeof buffer;
    zoo_wget(zh, "/w/a", watcher, NULL, buffer, &length, &stat);
    zoo_delete(zh, "/w/a", -1);
    check_event(ZOO_DELETED_EVENT, "/w/a", "data watch sees the delete");
    length = sizeof buffer;
    zoo_wget(zh, "/w", watcher, NULL, buffer, &length, &stat);
    check_rc(zoo_remove_all_watches(zh, "/w", ZWATCHTYPE_DATA, 0), ZOK, "remove watches");
    check_rc(zoo_remove_all_watches(zh, "/w", ZWATCHTYPE_DATA, 0), ZNOWATCHER,
             "remove watches again");
    zoo_set(zh, "/w", "not seen", 8, -1);
}

static void multis(zhandle_t *zh) {
    char first[64], second[64];
    struct Stat stat;
    zoo_op_t ops[4];
    zoo_op_result_t results[4];
    memset(results, 0, sizeof results);
    zoo_create_op_init(&ops[0], "/m-1", "a", 1, open_acl, 0, first, sizeof first);
    zoo_create_op_init(&ops[1], "/m-1/s-", "b", 1, open_acl, ZOO_SEQUENCE, second, sizeof second);
    zoo_set_op_init(&ops[2], "/m-1", "c", 1, 0, &stat);
    zoo_check_op_init(&ops[3], "/m-1", 1);
    check_rc(zoo_multi(zh, 4, ops, results), ZOK, "multi");
    check(strcmp(second, "/m-1/s-0000000000") == 0, "multi sees its own parent");
    check(stat.version == 1, "multi gives the Stat of a set");

    memset(results, 0, sizeof results);
    zoo_create_op_init(&ops[0], "/m-2", "a", 1, open_acl, 0, first, sizeof first);
    zoo_delete_op_init(&ops[1], "/m-1", -1);
    zoo_set_op_init(&ops[2], "/m-1", "d", 1, -1, &stat);
    check_rc(zoo_multi(zh, 3, ops, results), ZNOTEMPTY, "failing multi gives the error");
    check_rc(results[0].err, ZOK, "before the failing: rolled back");
    check_rc(results[1].err, ZNOTEMPTY, "the failing");
    check_rc(results[2].err, ZRUNTIMEINCONSISTENCY, "after the failing");
    check_rc(zoo_exists(zh, "/m-2", 0, &stat), ZNONODE, "nothing of it happened");
}

static void acls(zhandle_t *zh) {
    char path[64], buffer[64];
    int length = sizeof buffer;
    struct Stat stat;
    struct ACL_vector acl = {0};
    check_rc(zoo_create(zh, "/acl", "x", 1, &ZOO_CREATOR_ALL_ACL, 0, path, sizeof path),
             ZINVALIDACL, "creator ACL without authentication");
    zoo_add_auth(zh, "digest", "alice:secret", 12, on_auth, NULL);
    check(await(&authenticated, 1) && auth_rc == ZOK, "add_auth digest");
    check_rc(zoo_create(zh, "/acl", "x", 1, &ZOO_CREATOR_ALL_ACL, 0, path, sizeof path), ZOK,
             "creator ACL");
    check_rc(zoo_get_acl(zh, "/acl", &acl, &stat), ZOK, "get_acl");
    check(acl.count == 1 && acl.data[0].perms == ZOO_PERM_ALL &&
              strcmp(acl.data[0].id.scheme, "digest") == 0 &&
              strcmp(acl.data[0].id.id, "alice:aYXlLOpEooaV1cRAvUL1fp9Qt7E=") == 0,
          "it is the digest of alice");
    deallocate_ACL_vector(&acl);
    struct ACL nobody = {ZOO_PERM_READ, {"digest", "bob:aYXlLOpEooaV1cRAvUL1fp9Qt7E="}};
    struct ACL_vector only_bob = {1, &nobody};
    check_rc(zoo_set_acl(zh, "/acl", 0, &only_bob), ZOK, "set_acl");
    check_rc(zoo_get(zh, "/acl", 0, buffer, &length, &stat), ZNOAUTH, "get without permission");
    check_rc(zoo_set(zh, "/acl", "y", 1, -1), ZNOAUTH, "set without permission");
    check_rc(zoo_set_acl(zh, "/acl", -1, open_acl), ZNOAUTH, "set_acl without permission");
}

static void pipelining(zhandle_t *zh, int count) {
    char path[64];
    for (long n = 0; n < count; n++) {
        snprintf(path, sizeof path, "/c/p%ld", n / 4);
        switch (n % 4) {
        case 0:
            zoo_acreate(zh, path, "x", 1, open_acl, 0, on_string, (void *)n);
            break;
        case 1:
            zoo_aget(zh, path, 0, on_data, (void *)n);
            break;
        case 2:
            zoo_aset(zh, path, "y", 1, 0, on_stat, (void *)n);
            break;
        default:
            zoo_aexists(zh, path, 0, on_stat, (void *)n);
        }
    }
    check(await(&completed, count), "all pipelined requests complete");
    check(completion_errors == 0, "each read saw the write before it");
    check(out_of_order == 0, "in the order they were sent");
}

/* The connection is cut; the library renews the session and sets its watches. */
static void reconnect(zhandle_t *zh) {
    char path[64], buffer[64];
    int length = sizeof buffer;
    struct Stat stat;
    struct String_vector names = {0};
    int64_t session = zoo_client_id(zh)->client_id;
    zoo_wget(zh, "/w", watcher, NULL, buffer, &length, &stat);
    zoo_wexists(zh, "/w/later", watcher, NULL, &stat);
    zoo_wget_children(zh, "/w", watcher, NULL, &names);
    deallocate_String_vector(&names);
    int before = connected;
    printf("CUT\n");
    fflush(stdout);
    check(await(&connected, before + 1), "connected again");
    check(zoo_client_id(zh)->client_id == session, "with the same session");
    check_rc(zoo_exists(zh, "/c/eph", 0, &stat), ZOK, "its ephemeral is still there");
    zoo_create(zh, "/w/later", "", 0, open_acl, 0, path, sizeof path);
    check_event(ZOO_CREATED_EVENT, "/w/later", "the exists watch came along");
    check_event(ZOO_CHILD_EVENT, "/w", "the child watch came along");
    zoo_set(zh, "/w", "z", 1, -1);
    check_event(ZOO_CHANGED_EVENT, "/w", "the data watch came along");
}

static zhandle_t *connect_to(const char *address, const clientid_t *id) {
    int before = connected;
    zhandle_t *zh = zookeeper_init(address, watcher, SESSION_MS, id, NULL, 0);
    if (zh == NULL || !await(&connected, before + 1)) {
        printf("Bail out! no connection to %s\n", address);
        exit(2);
    }
    return zh;
}

/*
 * A process dies and another takes its session over with id and password.
 * Forked before this process has threads.
 */
static void take_over(const char *address) {
    int ends[2];
    clientid_t id;
    char path[64];
    struct Stat stat;
    if (pipe(ends)) {
        exit(2);
    }
    pid_t child = fork();
    if (child == 0) {
        zhandle_t *zh = connect_to(address, NULL);
        zoo_create(zh, "/taken", "", 0, open_acl, ZOO_EPHEMERAL, path, sizeof path);
        _exit(write(ends[1], zoo_client_id(zh), sizeof id) != sizeof id);
    }
    int got = read(ends[0], &id, sizeof id) == sizeof id;
    waitpid(child, NULL, 0);
    check(got, "another process had a session");
    zhandle_t *zh = connect_to(address, &id);
    check(zoo_client_id(zh)->client_id == id.client_id, "session taken over by id and password");
    check_rc(zoo_exists(zh, "/taken", 0, &stat), ZOK, "with its ephemeral");
    check(stat.ephemeralOwner == id.client_id, "which it owns");
    check_rc(zookeeper_close(zh), ZOK, "close");
    zh = connect_to(address, NULL);
    check_rc(zoo_exists(zh, "/taken", 0, &stat), ZNONODE, "ephemeral gone with the session");
    zookeeper_close(zh);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: %s host:port [capture]\n", argv[0]);
        return 2;
    }
    int capture = argc > 2;
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    take_over(argv[1]);
    zhandle_t *zh = connect_to(argv[1], NULL);
    creates(zh);
    reads_and_writes(zh);
    watches(zh);
    multis(zh);
    pipelining(zh, capture ? 4 : PIPELINE);
    reconnect(zh);
    acls(zh);
    char buffer[1024];
    int length = sizeof buffer;
    struct Stat stat;
    check_rc(zoo_reconfig(zh, "server.2=127.0.0.1:1:2;3", NULL, NULL, -1, buffer, &length, &stat),
             ZRECONFIGDISABLED, "reconfig is off");
    check_rc(zookeeper_close(zh), ZOK, "close");
    zh = connect_to(argv[1], NULL);
    check_rc(zoo_exists(zh, "/c/eph", 0, &stat), ZNONODE, "ephemeral gone after close");
    zookeeper_close(zh);
    printf("1..%d\n", tests);
    return failures != 0;
}
