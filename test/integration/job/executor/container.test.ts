// The container executor over a real podman: the contract, and what only containers can suffer.
import { afterAll, beforeAll, describe } from 'vitest';
import { createClock } from '../../../../src/base/clock.ts';
import { createSilentLog } from '../../../../src/base/log.ts';
import { createContainerExecutor } from '../../../../src/job/executor/container.ts';
import type { Executor } from '../../../../src/job/executor/executor.ts';
import { createProcessExecutor } from '../../../../src/job/executor/process.ts';
import { loadNative } from '../../../../src/native.ts';
import { compileNoisy, createPodman, type Podman, podmanMissing, TEST_IMAGE } from '../../../fakes/podman.ts';
import { executorContract } from './contract.ts';
import { addonPath, bootId, containedPath, shimPath } from './harness.ts';

const { native } = loadNative(addonPath);

describe.skipIf(podmanMissing() !== null)('containers of podman', () => {
  let podman: Podman;
  beforeAll(() => {
    podman = createPodman({ '/bin/noisy': compileNoisy() });
  });
  afterAll(() => podman.close());

  function create(): Executor {
    const clock = createClock();
    const log = createSilentLog();
    const inner = createProcessExecutor({ shimPath, native, clock, log });
    const container = createContainerExecutor({
      inner,
      containedPath,
      nodeId: 'node-test',
      bootId,
      runtime: podman.path,
      pull: 'never',
      processes: 1000,
      pullTimeoutMs: 30_000,
      environment: process.env,
      onChange: () => {},
      clock,
      log,
    });
    return {
      ...container,
      close() {
        container.close();
        inner.close();
      },
    };
  }

  executorContract('container', create, undefined, {
    spec: { executor: 'container', image: TEST_IMAGE },
    ownPids: true,
    slowStart: true,
    brief: true,
    burst: 3,
    noisy: '/bin/noisy',
  });
});
