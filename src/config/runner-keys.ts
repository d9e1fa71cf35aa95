// The keys of the job runner: where it listens, and who its agent is.
import type { ConfigKey } from './keys.ts';
import { parsePath } from './path.ts';
import { parseText, ValueProblem } from './value.ts';

const key = <T>(entry: ConfigKey<T>): ConfigKey<T> => entry;

export const runnerKeys = {
  'runner.socket': key<string | null>({
    flag: '--runner',
    argument: 'PATH',
    variable: 'FLOPD_RUNNER',
    help: 'socket of the job runner: an agent with one starts no job itself, a runner listens there',
    defaultText: 'none: the agent runs jobs itself; of a runner, runner.sock in the state directory',
    example: '/run/flopd-runner/runner.sock',
    fallback: () => null,
    parse: parsePath,
    format: (value) => value ?? '',
  }),
  'runner.user': key<string | null>({
    flag: '--runner-user',
    argument: 'USER',
    variable: 'FLOPD_RUNNER_USER',
    help: "user that the agent runs as, the only one besides the runner's own whom the runner listens to",
    defaultText: "the runner's own",
    example: 'flopd',
    fallback: () => null,
    parse: parseUser,
    format: (value) => value ?? '',
  }),
};

function parseUser(value: unknown): string {
  const text = typeof value === 'number' ? String(value) : parseText(value, 'a user', 64);
  if (/^(\d{1,10}|[a-z_][a-z0-9_.-]{0,63}\$?)$/i.test(text)) return text;
  throw new ValueProblem('not a user', 'write the name or the number of a user of this host');
}
