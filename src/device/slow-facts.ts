// What only systeminformation tells, asked in a child process that ends: loaded into the agent it would keep 11 MB
// resident for three sentences, and whatever it hangs in could not be ended.
import { execFile } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Each may fail, take long, or not know (null). */
export interface SlowFacts {
  virtualHost(): Promise<string | null>;
  cpuModel(): Promise<string | null>;
  os(): Promise<string | null>;
}

type Question = 'system' | 'cpu' | 'osInfo';
const CHILD_DEADLINE_MS = 3000;
const MAX_ANSWER_BYTES = 256 * 1024;
const SCRIPT =
  'require("systeminformation")[process.argv[1]]().then((facts) => process.stdout.write(JSON.stringify(facts)))';

/** Asks through the systeminformation that is installed beside this program; starts nothing until it is asked. */
export function createSlowFacts(): SlowFacts {
  return {
    async virtualHost() {
      const facts = await ask('system');
      return facts.virtual === true ? (joined(facts.virtualHost)?.toLowerCase() ?? null) : null;
    },
    async cpuModel() {
      const facts = await ask('cpu');
      return joined(facts.manufacturer, facts.brand);
    },
    async os() {
      const facts = await ask('osInfo');
      return joined(facts.distro, facts.release);
    },
  };
}

function ask(question: Question): Promise<Readonly<Record<string, unknown>>> {
  // The child looks for the package from its working directory upwards.
  const cwd = dirname(fileURLToPath(import.meta.url));
  const options = {
    cwd,
    timeout: CHILD_DEADLINE_MS,
    killSignal: 'SIGKILL',
    maxBuffer: MAX_ANSWER_BYTES,
  } as const;
  return new Promise((resolve, reject) => {
    execFile(process.execPath, ['-e', SCRIPT, '--', question], options, (error, stdout) => {
      if (error !== null) {
        reject(error);
        return;
      }
      try {
        const facts: unknown = JSON.parse(stdout);
        resolve(typeof facts === 'object' && facts !== null ? (facts as Record<string, unknown>) : {});
      } catch (problem) {
        reject(problem);
      }
    });
  });
}

function joined(...parts: readonly unknown[]): string | null {
  return parts.filter((part) => typeof part === 'string' && part !== '').join(' ') || null;
}
