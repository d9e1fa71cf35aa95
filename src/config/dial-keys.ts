// The keys of how a scheduler is reached.
import type { ConfigKey } from './keys.ts';
import { parsePath } from './path.ts';

const key = <T>(entry: ConfigKey<T>): ConfigKey<T> => entry;

export const dialKeys = {
  caFile: key<string | null>({
    flag: '--ca-file',
    argument: 'PATH',
    variable: 'FLOPD_CA_FILE',
    help: "certificate (PEM) of the authority that the scheduler's must come from",
    defaultText: "the one that the host joined with or that login kept, else the system's",
    example: '/etc/flopd/ca.pem',
    fallback: () => null,
    parse: parsePath,
    format: (value) => value ?? '',
  }),
};
