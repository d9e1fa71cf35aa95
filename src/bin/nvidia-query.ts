// A program of its own (dist/nvidia-query.js): asks nvidia-smi through the package node-nvidia-smi and prints one JSON
// line. A process that can be killed: the package waits for its child without a limit, and reads all that it prints.
// What the package makes of the XML is complete for us (order between unlike elements is lost, and means nothing).
import childProcess, { type ExecException } from 'node:child_process';
import { createRequire } from 'node:module';

/** The package's own limit is 1 MiB, less than 64 devices print. */
const MAX_BUFFER = 16 * 1024 * 1024;
const MAX_RAW = 1024 * 1024;
const MAX_ERRORS = 4096;

type Answer = (error: ExecException | null, stdout: string, stderr: string) => void;
type Ask = (done: (error: unknown, data: unknown) => void) => void;

const said = { exitCode: 0, stdout: '', stderr: '', xmlAt: -1, isPrinted: false };
const { exec } = childProcess;
// The package treats any word on stderr and any exit code as a failure; both may come with a good answer.
(childProcess as { exec: unknown }).exec = (command: string, answer: Answer) =>
  exec(command, { maxBuffer: MAX_BUFFER }, (error, stdout, stderr) => {
    said.exitCode = typeof error?.code === 'number' ? error.code : error === null ? 0 : 255;
    said.stdout = stdout;
    said.stderr = stderr;
    // What the tool has to say of single devices may stand before it.
    said.xmlAt = stdout.search(/^<\?xml /m);
    if (said.xmlAt < 0) print(null);
    else answer(null, stdout.slice(said.xmlAt), '');
  });

// XML that is cut or garbled is an error, and nothing of it is read.
(createRequire(import.meta.url)('node-nvidia-smi') as Ask)((error, data) =>
  print(error === null ? withoutClocks(data) : null),
);

/** `raw` is what was printed before the XML, or all of it where there is none to read. */
function print(data: unknown): void {
  if (said.isPrinted) return;
  said.isPrinted = true;
  const raw = said.stdout.slice(0, data === null ? MAX_RAW : Math.min(said.xmlAt, MAX_RAW));
  const { exitCode, stderr } = said;
  process.stdout.write(`${JSON.stringify({ exitCode, stderr: stderr.slice(0, MAX_ERRORS), raw, data })}\n`);
}

/** The lists of supported clocks are four fifths of the output, and nobody reads them. */
function withoutClocks(data: unknown): unknown {
  return JSON.parse(
    JSON.stringify(data, (key, value: unknown) => (key === 'supported_clocks' ? undefined : value)),
  );
}
