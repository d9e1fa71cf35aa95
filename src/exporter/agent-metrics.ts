// The agent's own metrics, `flopd_agent_*`. Others push what only they know through the setters; what the process can
// say about itself is read when somebody asks.
import { readdirSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { Counter, Gauge, Registry } from 'prom-client';

/** How often the event loop's delay is looked at: seldom enough to cost nothing. */
const LAG_RESOLUTION_MS = 250;

/** Running totals of the reader thread, as the sampler keeps them. */
export interface ReaderCounts {
  readonly windows: number;
  readonly busySeconds: number;
  readonly lateTicks: number;
}

export interface AgentMetrics {
  setSchedulerConnected(connected: boolean): void;
  /** Number of jobs that this agent holds in a state (`accepted`, `running`, `ended`) now. */
  setJobs(state: string, count: number): void;
  /** A job ended in this final state. */
  countEndedJob(state: string): void;
  /** Telemetry windows that the outbox had to drop since the start. */
  setDroppedWindows(total: number): void;
  setReader(counts: ReaderCounts): void;
  /** Whether the host's series are left out of the page because they are too old. */
  setHostStale(stale: boolean): void;
  /** Called before every page, to bring values up to date that nobody pushes. */
  beforePage(update: () => void): void;
  /** All of them as Prometheus text. */
  page(): Promise<string>;
  /** Stops watching the event loop. */
  close(): void;
}

export function createAgentMetrics({ version }: { version: string }): AgentMetrics {
  const registry = new Registry();
  const registers = [registry];
  const updates: (() => void)[] = [];
  const gauge = (name: string, help: string, collect?: () => number) =>
    new Gauge({
      name: `flopd_agent_${name}`,
      help,
      registers,
      ...(collect && {
        collect() {
          const value = collect();
          if (Number.isFinite(value)) this.set(value);
          else this.remove();
        },
      }),
    });
  /** A counter whose total somebody else keeps. */
  const total = (name: string, help: string, collect: () => number) =>
    new Counter({
      name: `flopd_agent_${name}`,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(collect());
      },
    });

  new Gauge({
    name: 'flopd_agent_build_info',
    help: 'Version of this agent',
    labelNames: ['version', 'node'],
    registers,
  })
    .labels(version, process.versions.node)
    .set(1);
  const connected = gauge('scheduler_connected', 'Whether the agent has a session with its scheduler');
  const stale = gauge(
    'host_series_stale',
    'Whether the series of the host are left out because they are too old',
  );
  const jobs = new Gauge({
    name: 'flopd_agent_jobs',
    help: 'Jobs that this agent holds',
    labelNames: ['state'],
    registers,
  });
  const ended = new Counter({
    name: 'flopd_agent_jobs_ended_total',
    help: 'Jobs that ended on this agent, by final state',
    labelNames: ['state'],
    registers,
  });
  let reader: ReaderCounts = { windows: 0, busySeconds: 0, lateTicks: 0 };
  let dropped = 0;
  total('windows_total', 'Telemetry windows taken', () => reader.windows);
  total('reader_busy_seconds_total', 'CPU time of the thread that reads the host', () => reader.busySeconds);
  total(
    'reader_late_ticks_total',
    'Ticks of the reader that came late or not at all',
    () => reader.lateTicks,
  );
  total(
    'outbox_windows_dropped_total',
    'Telemetry windows dropped because the scheduler was away',
    () => dropped,
  );
  observeProcess(gauge, total);

  const lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
  lag.enable();
  gauge('event_loop_lag_max_seconds', 'Longest delay of the event loop since the last page', () => {
    // What is recorded is the time between two looks, the resolution included.
    const seconds = Math.max(0, lag.max / 1e9 - LAG_RESOLUTION_MS / 1000);
    const isEmpty = lag.count === 0;
    lag.reset();
    return isEmpty ? 0 : seconds;
  });

  return {
    setSchedulerConnected: (value) => connected.set(value ? 1 : 0),
    setJobs: (state, count) => jobs.labels(state).set(count),
    countEndedJob: (state) => ended.labels(state).inc(),
    setDroppedWindows(value) {
      dropped = value;
    },
    setReader(counts) {
      reader = counts;
    },
    setHostStale: (value) => stale.set(value ? 1 : 0),
    beforePage(update) {
      updates.push(update);
    },
    page() {
      for (const update of updates) update();
      return registry.metrics();
    },
    close: () => void lag.disable(),
  };
}

type Observe = (name: string, help: string, collect: () => number) => unknown;

/** What the process says about itself; read at most once per page. */
function observeProcess(gauge: Observe, total: Observe): void {
  const startedSeconds = Date.now() / 1000 - process.uptime();
  gauge('start_time_seconds', 'When this process started', () => startedSeconds);
  gauge('resident_memory_bytes', 'Resident memory of this process', () => process.memoryUsage.rss());
  gauge('open_fds', 'Open file descriptors of this process', () => {
    try {
      return readdirSync('/proc/self/fd').length;
    } catch {
      return Number.NaN;
    }
  });
  total('cpu_seconds_total', 'CPU time of this process, its reader thread included', () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1e6;
  });
}
