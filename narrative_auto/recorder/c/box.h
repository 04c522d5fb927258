/* The black box: the part of the recorder's memory that is a file, so that it outlives the process.

   A page with a header, then blocks, one after the other; `../layout.py` describes both. The file grows by segments,
   which are reserved and touched before they are used, as a store into a mapped page that cannot be had is the end of
   the process. It never shrinks while it is in use, and what lies in it never moves. No descriptor stays open.

   A child of fork gets anonymous memory at the same addresses, with the same content but for the rings, until it has a
   file of its own. Where no more memory is to be had here, ordinary memory serves, which nobody can read later. */

#ifndef NARRATIVE_BOX_H
#define NARRATIVE_BOX_H

#include <Python.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"

#define BOX_MAGIC "narrbox\n"
#define BOX_VERSION 1u
#define BOX_PAGE 4096u
#define BOX_IDENTITY (BOX_PAGE - 64u)
#define BOX_FIRST 0x150000u /* the main thread's ring and what else a program with few functions needs */
#define BOX_SEGMENT 0x40000u
#define BOX_SEGMENTS 256u
#define BOX_MOST 0x4000000u
#define BLOCK_MAGIC 0x6b636f6c6272616eu

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
#ifndef MAP_ANONYMOUS
#define MAP_ANONYMOUS MAP_ANON
#endif

/* Held while lanes change hands, and while blocks do: a fork must not come between. Not on the hot path. */
static pthread_mutex_t lanes_mutex = PTHREAD_MUTEX_INITIALIZER;

enum { BLOCK_LANES = 1, BLOCK_RING, BLOCK_STACK, BLOCK_SUSPENDED, BLOCK_SITES, BLOCK_FREE, BLOCK_CRUMBS };
enum { BOX_OPEN = 1, BOX_ENDED, BOX_COPY };

typedef struct {
    char magic[8];
    uint32_t byte_order, version;
    uint32_t pid, state;
    uint64_t size;
    uint64_t clock_ns, wall_ns; /* the same moment by both clocks */
    uint64_t seen_ns; /* when the process was seen alive last; of a copy: when it was made */
    uint32_t identity_size, sampled; /* sampled: sites that were released at least once */
    char identity[BOX_IDENTITY]; /* JSON */
} BoxHeader;

typedef struct {
    uint64_t magic;
    uint32_t kind, unused;
    uint64_t size, used;
    uint64_t unused_too[4];
} Block;

_Static_assert(sizeof(BoxHeader) == BOX_PAGE, "the header is a page");
_Static_assert(sizeof(Block) == 64, "blocks begin at cache lines");

typedef struct {
    char *base;
    uint64_t at, size, used;
} Segment;

/* One for the process: lanes outlive recorders. */
static struct {
    int is_wanted, is_file;
    int fault; /* why there is no file, or no more of it, ever; 0 for none */
    char *folder, *path; /* "" for memory that is no file */
    BoxHeader header; /* as the file's is to begin */
    dev_t device;
    ino_t inode;
    Segment segments[BOX_SEGMENTS];
    uint32_t count;
    uint64_t size;
    char *saved; /* across a fork */
} the_box;

/* What was written before can be read by whoever sees what is written after. */
#define PUBLISH() atomic_signal_fence(memory_order_release)

static inline uint64_t up_to(uint64_t size, uint64_t unit) { return (size + unit - 1) / unit * unit; }

static BoxHeader *box_header(void) { return the_box.count ? (BoxHeader *)the_box.segments[0].base : NULL; }

/* -- the file -- */

/* A file that becomes larger than the program's limit is a signal to the program. */
static int is_too_large(uint64_t size) {
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && size > limit.rlim_cur;
}

static int box_reserve(int file, uint64_t at, uint64_t size) {
    int fault;
    if (is_too_large(at + size))
        return EFBIG;
    do
        fault = posix_fallocate(file, (off_t)at, (off_t)size);
    while (fault == EINTR);
    return fault;
}

static void *box_map(int file, void *where, uint64_t at, uint64_t size) {
    int flags = file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    void *base = mmap(
        where, size, PROT_READ | PROT_WRITE, flags | (where != NULL ? MAP_FIXED : 0), file, file < 0 ? 0 : (off_t)at
    );
    if (base == MAP_FAILED)
        return NULL;
    if (file >= 0 && madvise(base, size, MADV_POPULATE_WRITE) != 0 && errno != EINVAL && errno != ENOSYS) {
        if (where == NULL)
            munmap(base, size);
        return NULL;
    }
    return base;
}

/* The folder is to be its owner's alone, and nobody else's. */
static int box_folder(void) {
    struct stat status;
    if (mkdir(the_box.folder, 0700) == 0)
        chmod(the_box.folder, 0700); /* whatever the umask */
    else if (errno != EEXIST)
        return errno;
    if (lstat(the_box.folder, &status) != 0)
        return errno;
    if (!S_ISDIR(status.st_mode))
        return ENOTDIR;
    return status.st_uid == geteuid() && !(status.st_mode & (S_IWGRP | S_IWOTH)) ? 0 : EPERM;
}

static int box_reopen(void) {
    struct stat status;
    int file = open(the_box.path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (file < 0)
        return -1;
    if (fstat(file, &status) == 0 && status.st_dev == the_box.device && status.st_ino == the_box.inode)
        return file;
    close(file);
    errno = ESTALE; /* somebody took the file away */
    return -1;
}

/* Adds a segment of so many bytes, or more; 0 where there is no room. */
static int box_grow(uint64_t size) {
    size = up_to(size < BOX_SEGMENT ? BOX_SEGMENT : size, BOX_PAGE);
    if (the_box.is_file && the_box.fault)
        return 0; /* it was tried */
    if (the_box.count == BOX_SEGMENTS || the_box.size + size > BOX_MOST) {
        the_box.fault = EFBIG;
        return 0;
    }
    int file = the_box.is_file ? box_reopen() : -1;
    int fault = !the_box.is_file ? 0 : file < 0 ? errno : box_reserve(file, the_box.size, size);
    char *base = fault ? NULL : box_map(file, NULL, the_box.size, size);
    if (base == NULL && !fault)
        fault = errno;
    if (file >= 0)
        close(file);
    if (fault) {
        the_box.fault = fault;
        return 0;
    }
    the_box.segments[the_box.count++] = (Segment){.base = base, .at = the_box.size, .size = size};
    the_box.size += size;
    box_header()->size = the_box.size;
    return 1;
}

static void box_begin_header(BoxHeader *header) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    *header = the_box.header;
    header->byte_order = 0x01020304u;
    header->version = BOX_VERSION;
    header->pid = (uint32_t)getpid();
    header->state = BOX_OPEN;
    header->size = the_box.size;
    header->clock_ns = kernel_ns();
    header->wall_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void box_begins(void) { memcpy(box_header()->magic, BOX_MAGIC, sizeof box_header()->magic); }

/* Puts a file behind all segments, whose content it takes over; returns what stands in the way. */
static int box_make_file(void) {
    int fault = box_folder();
    if (fault)
        return fault;
    int file = open(the_box.path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file < 0)
        return errno;
    struct stat status;
    fault = box_reserve(file, 0, the_box.size);
    if (!fault && fstat(file, &status) != 0)
        fault = errno;
    for (uint32_t at = 0; at < the_box.count && !fault; at++) {
        const Segment *segment = &the_box.segments[at];
        for (uint64_t done = 0; done < segment->used && !fault;) {
            ssize_t count = pwrite(file, segment->base + done, segment->used - done, (off_t)(segment->at + done));
            if (count > 0)
                done += (uint64_t)count;
            else if (count == 0 || errno != EINTR)
                fault = count == 0 ? EIO : errno;
        }
    }
    for (uint32_t at = 0; at < the_box.count && !fault; at++) {
        Segment *segment = &the_box.segments[at];
        if (box_map(file, segment->base, segment->at, segment->size) == NULL)
            fault = errno; /* some may be the file's by now: their memory goes on all the same */
    }
    if (!fault)
        box_begins(); /* not before: it is a dead process's if nobody has it in memory */
    if (fault)
        unlink(the_box.path);
    else {
        the_box.device = status.st_dev;
        the_box.inode = status.st_ino;
    }
    close(file);
    return fault;
}

/* Makes the box ready, in memory of its own or in its file, the first time that a thread records. */
static __attribute__((noinline)) void box_open(void) {
    if (!the_box.is_wanted)
        return;
    the_box.is_wanted = 0;
    if (the_box.count == 0) {
        char *base = box_map(-1, NULL, 0, BOX_FIRST);
        if (base == NULL) {
            the_box.fault = errno;
            return;
        }
        the_box.segments[0] = (Segment){.base = base, .size = BOX_FIRST, .used = BOX_PAGE};
        the_box.size = BOX_FIRST;
        the_box.count = 1;
    }
    pthread_mutex_lock(&lanes_mutex);
    box_begin_header(box_header());
    if (the_box.path[0] != 0) {
        the_box.fault = box_make_file();
        the_box.is_file = !the_box.fault;
    }
    box_begins();
    pthread_mutex_unlock(&lanes_mutex);
}

/* -- blocks -- */

static void *box_take_locked(uint32_t kind, uint64_t size, uint64_t *at) {
    if (the_box.count == 0)
        return NULL;
    uint64_t whole = sizeof(Block) + up_to(size, sizeof(Block));
    Segment *last = &the_box.segments[the_box.count - 1];
    if (last->used + whole > last->size) {
        if (!box_grow(whole))
            return NULL;
        last = &the_box.segments[the_box.count - 1];
    }
    Block *block = (Block *)(last->base + last->used);
    *at = last->at + last->used + sizeof *block;
    block->kind = kind;
    block->size = whole - sizeof *block;
    PUBLISH();
    block->magic = BLOCK_MAGIC;
    last->used += whole;
    return block + 1;
}

/* Memory for something of a kind, all zeros; NULL where there is none. `*at` is where it is in the file. */
static void *box_take(uint32_t kind, uint64_t size, uint64_t *at) {
    pthread_mutex_lock(&lanes_mutex);
    void *memory = box_take_locked(kind, size, at);
    pthread_mutex_unlock(&lanes_mutex);
    return memory;
}

/* Lets a block be of another kind: BLOCK_FREE for what nobody uses any more. */
static void box_turn(void *memory, uint32_t kind) {
    pthread_mutex_lock(&lanes_mutex);
    PUBLISH();
    ((Block *)memory - 1)->kind = kind;
    pthread_mutex_unlock(&lanes_mutex);
}

/* One more site was released. */
static void box_note_sampled(void) {
    if (the_box.count)
        box_header()->sampled++;
}

/* The process is alive. */
static void box_beat(void) {
    if (the_box.count)
        box_header()->seen_ns = kernel_ns();
}

/* -- forks and the end -- */

/* Goes through all blocks, while `lanes_mutex` is held: keeps what they hold, or brings it back. Rings stay behind. Returns the bytes. */
static uint64_t box_pass(char *kept, int back) {
    uint64_t done = 0;
    for (uint32_t at = 0; at < the_box.count; at++) {
        const Segment *segment = &the_box.segments[at];
        uint64_t position = at == 0 ? BOX_PAGE : 0;
        while (position < segment->used) {
            Block *block = (Block *)(segment->base + position);
            const Block *shape = back ? (Block *)(kept + done) : block;
            uint64_t size = sizeof *block + (shape->kind == BLOCK_RING || shape->kind == BLOCK_FREE ? 0 : shape->size);
            uint64_t next = position + sizeof *block + shape->size;
            if (kept != NULL && back)
                memcpy(block, kept + done, size);
            else if (kept != NULL)
                memcpy(kept + done, block, size);
            done += size;
            position = next;
        }
    }
    return done;
}

static void box_before_fork(void) {
    if (the_box.count == 0)
        return;
    the_box.saved = malloc(box_pass(NULL, 0) + 1);
    if (the_box.saved != NULL)
        box_pass(the_box.saved, 0);
}

static void box_in_parent(void) {
    free(the_box.saved);
    the_box.saved = NULL;
}

/* The file is the parent's. Returns 0 where the memory is lost: nothing of it may be touched any more. */
static int box_in_child(void) {
    int is_sound = the_box.saved != NULL || the_box.count == 0;
    for (uint32_t at = 0; at < the_box.count && is_sound; at++)
        is_sound = box_map(-1, the_box.segments[at].base, 0, the_box.segments[at].size) != NULL;
    if (is_sound && the_box.count)
        box_pass(the_box.saved, 1);
    box_in_parent();
    the_box.is_file = the_box.is_wanted = the_box.fault = 0;
    for (uint32_t at = 0; at < the_box.count && !is_sound; at++)
        mprotect(the_box.segments[at].base, the_box.segments[at].size, PROT_READ); /* it may be the parent's */
    if (!is_sound)
        the_box.count = 0;
    return is_sound;
}

/* The process says goodbye: nobody needs to read the box. */
static void box_close(void) {
    if (the_box.count)
        box_header()->state = BOX_ENDED;
    if (the_box.is_file)
        unlink(the_box.path);
    the_box.is_file = the_box.is_wanted = 0;
}

#endif
