import { afterEach, describe, expect, it } from 'vitest';
import { type AgentMetrics, createAgentMetrics } from '../../../src/exporter/agent-metrics.ts';

let metrics: AgentMetrics = createAgentMetrics({ version: '0' });
afterEach(() => metrics.close());

async function read(): Promise<Map<string, string>> {
  const lines = (await metrics.page()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), line.slice(line.lastIndexOf(' ') + 1)]),
  );
}

describe("the agent's own metrics", () => {
  it('show what was set, by state', async () => {
    metrics.close();
    metrics = createAgentMetrics({ version: '1.2.3' });
    metrics.setSchedulerConnected(true);
    metrics.setHostStale(true);
    metrics.setJobs('running', 2);
    metrics.setJobs('running', 1);
    metrics.countEndedJob('FAILED');
    metrics.countEndedJob('FAILED');
    metrics.setDroppedWindows(7);
    metrics.setReader({ windows: 5, busySeconds: 0.25, lateTicks: 1 });
    const page = await read();
    expect(page.get(`flopd_agent_build_info{version="1.2.3",node="${process.versions.node}"}`)).toBe('1');
    expect(Object.fromEntries(page)).toMatchObject({
      flopd_agent_scheduler_connected: '1',
      flopd_agent_host_series_stale: '1',
      'flopd_agent_jobs{state="running"}': '1',
      'flopd_agent_jobs_ended_total{state="FAILED"}': '2',
      flopd_agent_outbox_windows_dropped_total: '7',
      flopd_agent_windows_total: '5',
      flopd_agent_reader_busy_seconds_total: '0.25',
      flopd_agent_reader_late_ticks_total: '1',
    });
  });

  it('read the process when asked, and show totals rather than their sum over pages', async () => {
    metrics.close();
    metrics = createAgentMetrics({ version: '1' });
    metrics.setReader({ windows: 5, busySeconds: 1, lateTicks: 0 });
    await read();
    const page = await read();
    expect(page.get('flopd_agent_windows_total')).toBe('5');
    expect(Number(page.get('flopd_agent_resident_memory_bytes'))).toBeGreaterThan(10e6);
    expect(Number(page.get('flopd_agent_open_fds'))).toBeGreaterThan(2);
    const seconds = Number(page.get('flopd_agent_cpu_seconds_total'));
    expect(seconds).toBeGreaterThan(0);
    expect(seconds).toBeLessThanOrEqual(process.cpuUsage().user / 1e6 + process.cpuUsage().system / 1e6);
    expect(Number(page.get('flopd_agent_event_loop_lag_max_seconds'))).toBeGreaterThanOrEqual(0);
  });

  it('ask others to bring their values up to date before each page', async () => {
    metrics.close();
    metrics = createAgentMetrics({ version: '1' });
    let dropped = 0;
    metrics.beforePage(() => metrics.setDroppedWindows(++dropped));
    await read();
    expect((await read()).get('flopd_agent_outbox_windows_dropped_total')).toBe('2');
  });
});
