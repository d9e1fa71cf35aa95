// Removes a folder with all that is in it, without following a link and without leaving its file system.
#ifndef FLOPD_REMOVE_H
#define FLOPD_REMOVE_H

#ifdef __cplusplus
extern "C" {
#endif

// May take long: for a thread that may wait. Returns 0, also where nothing was there, or the negative errno of the
// first thing that could not be removed.
int remove_tree(const char *path);

#ifdef __cplusplus
}
#endif

#endif
