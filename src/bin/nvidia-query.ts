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

const END = '</nvidia_smi_log>';
const said = { exitCode: 0, stdout: '', stderr: '', beside: '' };
const read = { data: null as unknown, isBroken: false, isTold: false };

const { exec } = childProcess;
// The package treats any word on stderr and any exit code as a failure; both may come with a good answer.
(childProcess as { exec: unknown }).exec = (command: string, answer: Answer) =>
  exec(command, { maxBuffer: MAX_BUFFER }, (error, stdout, stderr) => {
    said.exitCode = typeof error?.code === 'number' ? error.code : error === null ? 0 : 255;
    said.stdout = stdout;
    said.stderr = stderr;
    const xml = xmlOf(stdout);
    if (xml === null) return;
    said.beside = stdout.replace(xml, () => '\n');
    answer(null, xml, '');
  });

/** The document. Before and behind it may stand what the tool has to say of single devices. */
function xmlOf(text: string): string | null {
  // Of two documents the package would read the first; and comments may join numbers that something cut in two.
  if (text.split('<?xml ').length !== 2 || /<!--|<!\[CDATA\[|<!ENTITY/.test(text)) return null;
  const [from, end] = [text.search(/^<\?xml /m), text.lastIndexOf(END)];
  return from < 0 || end < from ? null : text.slice(from, end + END.length);
}

// XML that is cut or garbled is an error, and nothing of it is read. The package's parser may tell of one after it has
// given its answer, by a second answer or by throwing.
process.on('uncaughtException', () => {
  read.isBroken = true;
});
(createRequire(import.meta.url)('node-nvidia-smi') as Ask)((error, data) => {
  read.isBroken ||= error !== null;
  read.data = data;
});

process.on('beforeExit', () => {
  if (read.isTold) return;
  read.isTold = true;
  const data = read.isBroken ? null : withoutClocks(read.data);
  // Where there is no XML to read, all that was printed.
  const raw = (data === null ? said.stdout : said.beside).slice(0, MAX_RAW);
  const answer = { exitCode: said.exitCode, stderr: said.stderr.slice(0, MAX_ERRORS), raw, data };
  process.stdout.write(`${JSON.stringify(answer)}\n`);
});

/** The lists of supported clocks are four fifths of the output, and nobody reads them. */
function withoutClocks(data: unknown): unknown {
  return JSON.parse(
    JSON.stringify(data ?? null, (key, value: unknown) => (key === 'supported_clocks' ? undefined : value)),
  );
}
