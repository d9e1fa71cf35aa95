// `flopd doctor`: checks this host; each finding has a remedy. Exit code 0 all well, 1 a warning, 2 a failure.
import type { Command } from 'commander';
import { parseSimulated } from '../device/simulated.ts';
import type { Context } from './context.ts';
import { runChecks } from './doctor-check.ts';
import type { Check } from './doctor-outcome.ts';
import { addConfigFlags, readConfig, wallKeys } from './flags.ts';
import { addOutputFlag, type OutputFormat, printValue } from './output.ts';
import { escapeText, padEnd } from './text.ts';

const colours = { ok: '32', note: '36', warning: '33', failure: '31' } as const;

export function define(command: Command, context: Context, finish: (code: number) => void): void {
  addOutputFlag(
    addConfigFlags(command, [
      'stateDir',
      'listen',
      'metricsListen',
      'scheduler',
      'tokenFile',
      'devices.backend',
      'simulate',
      ...wallKeys,
    ]),
  ).addHelpText(
    'after',
    `
Exit code: 0 nothing found, 1 a warning, 2 a failure. Notes are facts, not findings.
JSON: {"checks": [{"name", "status": "ok"|"note"|"warning"|"failure", "finding", "remedy"}, …]}`,
  );
  command.action(async () => {
    const { output } = command.opts() as { output: OutputFormat };
    const config = await readConfig(command, context);
    if (config.simulate !== null) parseSimulated(config.simulate);
    const checks = await runChecks(context, config);
    await printValue(context, output, { checks }, ({ colour }) =>
      checks.flatMap((check) => describe(check, colour)),
    );
    finish(doctorExitCode(checks));
  });
}

export function doctorExitCode(checks: readonly Check[]): number {
  if (checks.some(({ status }) => status === 'failure')) return 2;
  return checks.some(({ status }) => status === 'warning') ? 1 : 0;
}

function describe({ name, status, finding, remedy }: Check, colour: boolean): string[] {
  const word = padEnd(status, 7);
  const painted = colour ? `\u001b[${colours[status]}m${word}\u001b[0m` : word;
  const lines = [`${painted}  ${name}: ${escapeText(finding)}`];
  if (remedy !== null) lines.push(`         remedy: ${escapeText(remedy)}`);
  return lines;
}
