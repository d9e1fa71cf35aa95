// A program of its own (dist/nvidia-query.js): asks nvidia-smi through the package node-nvidia-smi and prints one JSON
// line. A process that can be killed: the package waits for its child without a limit, and reads all that it prints.
import childProcess, { type ExecException } from 'node:child_process';
import { createRequire } from 'node:module';

/** The package's own limit is 1 MiB, less than 64 devices print. */
const MAX_BUFFER = 16 * 1024 * 1024;
const MAX_RAW = 1024 * 1024;

type Answer = (error: ExecException | null, stdout: string, stderr: string) => void;
type Ask = (done: (error: unknown, data: unknown) => void) => void;

const said = { exitCode: 0, stdout: '', stderr: '' };
const { exec } = childProcess;
// The package treats any word on stderr and any exit code as a failure; both may come with a good answer.
(childProcess as { exec: unknown }).exec = (command: string, answer: Answer) =>
  exec(command, { maxBuffer: MAX_BUFFER }, (error, stdout, stderr) => {
    said.exitCode = typeof error?.code === 'number' ? error.code : error === null ? 0 : 255;
    said.stdout = stdout;
    said.stderr = stderr;
    if (/^\s*<\?xml/.test(stdout)) answer(null, stdout, '');
    else print(null);
  });

(createRequire(import.meta.url)('node-nvidia-smi') as Ask)((error, data) =>
  print(error === null ? withoutClocks(data) : null),
);

function print(data: unknown): void {
  const raw = data === null ? said.stdout.slice(0, MAX_RAW) : null;
  process.stdout.write(
    `${JSON.stringify({ exitCode: said.exitCode, stderr: said.stderr.slice(0, 4096), raw, data })}\n`,
  );
}

/** The lists of supported clocks are four fifths of the output, and nobody reads them. */
function withoutClocks(data: unknown): unknown {
  return JSON.parse(
    JSON.stringify(data, (key, value: unknown) => (key === 'supported_clocks' ? undefined : value)),
  );
}
