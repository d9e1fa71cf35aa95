// The command line as a whole: knows the catalogue and commander, and turns every end into an exit code and at most
// one line on stderr. No stack trace for anything that is not a bug.
import { Command, CommanderError } from 'commander';
import { describeError, Fault } from '../base/fault.ts';
import { nearestWord } from '../config/nearest.ts';
import { catalogue, childrenOf, firstWords } from './catalogue.ts';
import type { Context } from './context.ts';
import { errorExitCode, exitCode } from './exit-code.ts';
import { addConfigFlags, clientKeys } from './flags.ts';
import { say } from './message.ts';

const EXAMPLES = `
Examples:
  flopd up                              a network of one node, here
  flopd run -- sh -c 'echo hello'       run a job and see its output
  flopd jobs; flopd job job-7k3m        what runs, and why the rest waits
  flopd nodes -o json                   every number of every node

Exit codes: 0 ok, 1 failed at run time, 2 wrong usage or configuration; run and wait: the job's own code.`;

/** Builds the program; a command's own code is loaded when it is called. `finish` takes its exit code. */
export function createProgram(context: Context, finish: (code: number) => void): Command {
  const program = new Command('flopd')
    .description('Compute network: reports FLOPS, utilisation and power of hosts, runs and meters jobs.')
    .version(context.version, '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print help')
    .helpCommand(false)
    .enablePositionalOptions()
    .addHelpText('after', EXAMPLES);
  addConfigFlags(program, clientKeys);
  settle(program, context);
  for (const { name, summary, group } of firstWords()) {
    // The description is set here so that `flopd --help` needs no command's code.
    const command = addCommand(program, name, summary);
    if (group !== null) command.helpGroup(group);
    settle(command, context);
  }
  program.hook('preSubcommand', (_, command) => prepare(command, command.name()));

  /** Gives a command its own code and the commands below it, when it is called. */
  async function prepare(command: Command, name: string): Promise<void> {
    const entry = catalogue.find((one) => one.name === name);
    if (entry?.load != null) (await entry.load()).define(command, context, finish);
    const children = childrenOf(name);
    if (children.length === 0) return;
    command.enablePositionalOptions().helpCommand(false);
    for (const { word, summary } of children) settle(addCommand(command, word, summary), context);
    command.hook('preSubcommand', (_, child) => prepare(child, `${name} ${child.name()}`));
  }
  return program;
}

function addCommand(parent: Command, word: string, summary: string): Command {
  return parent.command(word).description(summary).helpOption('-h, --help', 'print help');
}

/** Runs one command line (without node and script) to its exit code. Never rejects for a user's mistake. */
export async function runCommandLine(context: Context, argv: readonly string[]): Promise<number> {
  let code: number = exitCode.ok;
  const program = createProgram(context, (result) => {
    code = result;
  });
  if (argv.length === 0) {
    context.stderr.write(program.helpInformation());
    return exitCode.usage;
  }
  try {
    // `flopd help run` is `flopd run --help`.
    const words = argv[0] === 'help' ? [...helpWords(argv), '--help'] : [...argv];
    await program.parseAsync(words, { from: 'user' });
    return code;
  } catch (error) {
    return report(context, error, argv);
  }
}

/** As many words behind `help` as name a command. */
function helpWords(argv: readonly string[]): readonly string[] {
  const name = calledName(argv.slice(1));
  return name === null ? argv.slice(1, 2) : name.split(' ');
}

/** The command of this command line: the longest one whose words stand in it in their order. */
function calledName(argv: readonly string[]): string | null {
  let called: string | null = null;
  for (const { name } of catalogue) {
    let at = 0;
    const isThere = name.split(' ').every((word) => {
      at = argv.indexOf(word, at) + 1;
      return at > 0;
    });
    if (isThere && (called === null || name.startsWith(`${called} `))) called = name;
  }
  return called;
}

function report(context: Context, error: unknown, argv: readonly string[]): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return exitCode.ok;
    // Help that was asked for by leaving something out: it has been written already.
    if (error.code === 'commander.help') return exitCode.usage;
    say(context.stderr, usageMessage(error, argv));
    return exitCode.usage;
  }
  const code = errorExitCode(error);
  // Only a bug comes without a code of ours or the system's; bin/ shows its stack when asked.
  if (!(error instanceof Fault) && !isSystemError(error)) throw error;
  if (code !== exitCode.outputClosed) say(context.stderr, describeError(error));
  return code;
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error;
}

/** Commander's message as one line with a remedy. */
function usageMessage(error: CommanderError, argv: readonly string[]): string {
  const message = error.message
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ')
    .replace(/\.$/, '');
  const name = calledName(argv);
  if (error.code === 'commander.unknownCommand') {
    const word = /'(.*)'/s.exec(message)?.[1] ?? '';
    const here =
      name === null ? firstWords().map((entry) => entry.name) : childrenOf(name).map((entry) => entry.word);
    const near = nearestWord(word, here);
    const where = name === null ? '' : `${name} `;
    return `unknown command ${JSON.stringify(word)}; ${near === null ? '' : `did you mean "${where}${near}"? `}see "flopd ${where}--help"`;
  }
  return `${message}; see "flopd ${name === null ? '' : `${name} `}--help"`;
}

function settle(command: Command, context: Context): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => void context.stdout.write(text, () => {}),
    writeErr: (text) => void context.stderr.write(text, () => {}),
    // Told once, by `report`.
    outputError: () => {},
    getOutHelpWidth: () => context.stdout.columns ?? 100,
    getErrHelpWidth: () => context.stderr.columns ?? 100,
    getOutHasColors: () => false,
    getErrHasColors: () => false,
  });
}
