// `flopd exec`: runs a command beside a running job, in its walls and as its user, and ends as that command ended.
import { constants } from 'node:os';
import type { Command } from 'commander';
import { describeError } from '../base/fault.ts';
import type { ExecEnd, ExecRequest } from '../protocol/exec.ts';
import type { Context, StopSignal } from './context.ts';
import { type Access, findAccess } from './endpoint.ts';
import { type ExecControls, runExec } from './exec-session.ts';
import { errorExitCode, exitCode, signalExitCode } from './exit-code.ts';
import { addConfigFlags, clientKeys, readConfig } from './flags.ts';
import { say } from './message.ts';
import { writeOut } from './output.ts';
import { usageFault } from './usage.ts';

/** Size of a terminal that does not tell its own. */
const DEFAULT_ROWS = 24;
const DEFAULT_COLUMNS = 80;
/** Two signals within this time are one wish. */
const REPEATED_SIGNAL_MS = 500;

interface ExecFlags {
  readonly interactive?: boolean;
  readonly tty?: boolean;
}

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  command
    .argument('<id>', 'id of the job, or the start of one')
    .argument('<command...>', 'program and its arguments')
    .passThroughOptions()
    .option('-i, --interactive', 'give it the standard input of this command')
    .option('-t, --tty', 'give it a terminal; with -i, keys such as Ctrl-C go to it');
  addConfigFlags(command, clientKeys).addHelpText('after', HELP);
  command.action(async (id: string, words: string[]) => {
    const flags = command.opts() as ExecFlags;
    // Options pass through behind the id, and with them the dashes that end them.
    if (words[0] === '--') words.shift();
    if (words.length === 0) throw usageFault('command: there is none', 'name a program after the id');
    const access = await findAccess(await readConfig(command, context), context.environment);
    finish(await exec(context, access, id, words, flags));
  });
}

const HELP = `
The command runs in the sandbox, the control group, the environment and the working directory of the job, as its user,
and ends with the job at the latest. It also ends when the connection to it breaks: it is no job of its own.

Exit code: that of the command; 128+n after signal n; 127 program missing; 126 not startable; 125 flopd failed, the
job does not run, or the connection broke; 2 wrong usage.

Examples:
  flopd exec job-7k3m -- ps aux
  flopd exec -it job-7k3m -- sh
  tar c data | flopd exec -i job-7k3m -- tar x`;

async function exec(
  context: Context,
  access: Access,
  id: string,
  words: readonly string[],
  flags: ExecFlags,
): Promise<number> {
  const { stdin, stdout, stderr } = context;
  const isRaw = flags.tty === true && flags.interactive === true;
  if (isRaw && stdin.isTTY !== true) {
    throw usageFault('-t with -i: standard input is not a terminal', 'leave -t away');
  }
  if (id === '') throw usageFault('id: it is empty', 'name a job as "flopd jobs" shows it');
  // A terminal that nobody gave a size has 0 of both.
  const size = () => ({ rows: stdout.rows || DEFAULT_ROWS, columns: stdout.columns || DEFAULT_COLUMNS });
  const request: ExecRequest = {
    type: 'request',
    command: [...words],
    terminal: flags.tty === true ? size() : null,
    terminalType: flags.tty === true ? terminalType(context) : null,
  };
  const stop = watchSignals(context);
  const resized = (): void => {
    const { rows, columns } = size();
    stop.controls?.resize(rows, columns);
  };
  if (flags.tty === true) stdout.on('resize', resized);
  if (isRaw) stdin.setRawMode?.(true);
  try {
    const end = await runExec({
      access,
      jobId: id,
      request,
      stdin: flags.interactive === true ? stdin : null,
      output: (stream, bytes) => writeOut(stream === 'stdout' ? stdout : stderr, bytes),
      opened(controls) {
        stop.controls = controls;
      },
    });
    return reportEnd(context, end);
  } catch (error) {
    if (stop.left !== null) return signalExitCode(stop.left);
    const code = errorExitCode(error);
    if (code === exitCode.usage || code === exitCode.outputClosed) throw error;
    say(stderr, describeError(error));
    return exitCode.unknownEnd;
  } finally {
    stop.restore();
    stdout.off('resize', resized);
    if (isRaw) stdin.setRawMode?.(false);
    stdin.pause();
  }
}

interface SignalWatch {
  controls: ExecControls | null;
  /** The signal after which this side left without waiting. */
  left: StopSignal | null;
  restore(): void;
}

/** The first signal goes to the command; a second one, or one before there is a command, leaves. */
function watchSignals(context: Context): SignalWatch {
  let firstMs: number | null = null;
  const watch: SignalWatch = { controls: null, left: null, restore() {} };
  watch.restore = context.onSignal(['SIGINT', 'SIGTERM'], (signal) => {
    const nowMs = context.clock.monotonicMs();
    if (watch.controls !== null && firstMs === null) {
      firstMs = nowMs;
      watch.controls.signal(constants.signals[signal]);
    } else if (firstMs === null || nowMs - firstMs > REPEATED_SIGNAL_MS) {
      watch.left = signal;
      watch.controls?.leave();
    }
  });
  return watch;
}

function terminalType({ environment }: Context): string | null {
  const { TERM } = environment;
  return TERM !== undefined && /^[\w.+-]{1,64}$/.test(TERM) ? TERM : null;
}

function reportEnd(context: Context, { exitCode: own, signal, code, message }: ExecEnd): number {
  if (own !== null) return own;
  if (signal !== null) return 128 + signal;
  say(context.stderr, message ?? 'the command ended in a way that is not known');
  if (code !== 'EXEC_NOT_STARTED') return exitCode.unknownEnd;
  return message?.endsWith('(ENOENT)') === true ? exitCode.programMissing : exitCode.notStartable;
}
