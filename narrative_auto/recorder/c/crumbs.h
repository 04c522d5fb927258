/* The last crumbs, in the black box. Their texts are made, and kept for the program, in Python. */

#ifndef NARRATIVE_CRUMBS_H
#define NARRATIVE_CRUMBS_H

#include "box.h"

#define CRUMBS_KEPT 128u /* all that a process keeps by itself: those of the program, and those that nobody left */
#define CRUMB_SIZE 1024u

typedef struct {
    uint64_t number; /* from 1; 0 while it is being written */
    uint32_t size, unused;
    char text[CRUMB_SIZE - 16];
} CrumbSlot;

_Static_assert(sizeof(CrumbSlot) == CRUMB_SIZE, "slots are told apart by their size");

static struct {
    CrumbSlot *slots;
    atomic_uint_fast64_t count;
    int was_tried;
} the_crumbs;

/* Takes a crumb's text in; of a long one the beginning, cut between two characters. */
static PyObject *recorder_keep_crumb(PyObject *Py_UNUSED(self), PyObject *text) {
    Py_ssize_t size;
    const char *bytes = PyUnicode_AsUTF8AndSize(text, &size);
    if (bytes == NULL)
        return NULL;
    if (!the_crumbs.was_tried) {
        uint64_t at;
        box_open();
        the_crumbs.was_tried = 1;
        the_crumbs.slots = box_take(BLOCK_CRUMBS, CRUMBS_KEPT * sizeof(CrumbSlot), &at);
    }
    if (the_crumbs.slots == NULL)
        Py_RETURN_NONE;
    const Py_ssize_t room = sizeof the_crumbs.slots->text;
    if (size > room)
        for (size = room; (bytes[size] & 0xC0) == 0x80; size--)
            ;
    uint64_t number = atomic_fetch_add(&the_crumbs.count, 1) + 1;
    CrumbSlot *slot = &the_crumbs.slots[(number - 1) % CRUMBS_KEPT];
    slot->number = 0;
    PUBLISH();
    memcpy(slot->text, bytes, (size_t)size);
    slot->size = (uint32_t)size;
    PUBLISH();
    slot->number = number;
    Py_RETURN_NONE;
}

#endif
