// The scheduler's store of files over HTTP, for clients (token) and for nodes (`welcome.fileTicket`), on its one port.
// Bulk data never goes through the link.
//
//   HEAD /v1/files/SHA256                     200 with Content-Length; 404 with `Flopd-Received-Bytes: N` of an upload
//   GET  /v1/files/SHA256                     the bytes; `Range: bytes=N-` goes on at N (206)
//   PUT  /v1/files/SHA256?offset=N&size=M     bytes from N on of a file of M; answers PutAnswer. 409 FILE_OFFSET when
//                                             the store has another number of bytes: ask HEAD
//   GET  /v1/trees/SHA256/files?from=I&to=J&offset=N   contents of the files [I, J) of the list, one behind the other,
//                                             beginning at byte N of the first; files are counted in the list's order
//   GET  /v1/trees/SHA256/missing             MissingAnswer: which files of the list the store lacks
//   PUT  /v1/trees/SHA256/files?from=I&offset=N   contents likewise; answers TreePutAnswer
//
// The list of a tree is a file like any other and has to be there first. A request may end at any byte, on purpose too:
// what came whole counts, and the next goes on behind it; clients end each PUT after PUT_MS, so that a server may bound
// the time of every request. Nothing counts before its digest is right and its bytes are on disk.
// A node names the attempt that it works for (`Flopd-Attempt: JOB.EPOCH`): it may read what that job's inputs name
// while the job is its own, and write what the job's result names as outputs.
import * as z from 'zod';

export const RECEIVED_HEADER = 'flopd-received-bytes';
export const ATTEMPT_HEADER = 'flopd-attempt';
/** How long clients go on with one PUT. */
export const PUT_MS = 8000;
/** Files that one PUT of a tree brings at most. */
export const PUT_FILES_MAX = 4096;
/** Runs that one MissingAnswer names. */
export const MISSING_RUNS_MAX = 256;

const count = z.number().int().nonnegative();

export const putAnswerSchema = z.strictObject({
  receivedBytes: count,
  /** All of it is here, its digest is right, and it is on disk. */
  complete: z.boolean(),
});
export type PutAnswer = z.output<typeof putAnswerSchema>;

export const missingAnswerSchema = z.strictObject({
  /** Files of the list, and how many of them, and of their bytes, are not here. */
  files: count,
  missingFiles: count,
  missingBytes: count,
  /** Runs [from, to) of what is missing, the first of them; what lies between may be here. */
  runs: z.array(z.tuple([count, count])).max(MISSING_RUNS_MAX),
  /** Bytes of the first missing file that an earlier request brought. */
  receivedBytes: count,
});
export type MissingAnswer = z.output<typeof missingAnswerSchema>;

export const treePutAnswerSchema = z.strictObject({
  /** Where to go on: all files before it that the request brought are on disk. */
  next: count,
  /** Bytes of that one that are here. */
  receivedBytes: count,
});
export type TreePutAnswer = z.output<typeof treePutAnswerSchema>;
