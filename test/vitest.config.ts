// Four kinds of test; what belongs where is in test/README.md.
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('..', import.meta.url));
const project = (name: string, testTimeout: number, extra: object = {}) => ({
  extends: true as const,
  test: {
    name,
    root,
    include: [`test/${name}/**/*.test.ts`],
    testTimeout,
    hookTimeout: testTimeout,
    ...extra,
  },
});

export default defineConfig({
  test: {
    pool: 'forks',
    // Vitest's own is one second, which a busy machine may take for anything.
    expect: { poll: { timeout: 20_000 } },
    projects: [
      // Milliseconds, but for a machine that is busy with something else.
      project('unit', 60_000),
      project('house', 30_000),
      project('integration', 60_000),
      // Whole programs on two cores: two files at a time.
      project('system', 180_000, { maxWorkers: 2, fileParallelism: true }),
    ],
  },
});
