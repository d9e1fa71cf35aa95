// The page's words in English, 繁體 and 简体. English phrases are the keys; what a scheduler or a node says in a
// sentence of its own (reasons, faults) stays as it came.

import { words } from './figure.js';

const LANGUAGE_KEY = 'flopd-language';
const codes = ['en', 'zh-Hant', 'zh-Hans'];

const phrases = {
  Token: ['權杖', '令牌'],
  'Show jobs': ['顯示作業', '显示作业'],
  'Forget token': ['忘記權杖', '忘记令牌'],
  'flopd-user-…': ['flopd-user-…', 'flopd-user-…'],
  'This scheduler shows nothing without a token. An admin makes one with “flopd user create”.': [
    '此排程器須有權杖才顯示內容。管理員以「flopd user create」建立。',
    '此调度器须有令牌才显示内容。管理员以“flopd user create”创建。',
  ],
  '; what it prints is for its owner and operators': [
    '；輸出僅供擁有者與操作員檢視',
    '；输出仅供所有者与操作员查看',
  ],
  '{0} ({1})': ['{0}（{1}）', '{0}（{1}）'],
  viewer: ['檢視者', '查看者'],
  submitter: ['提交者', '提交者'],
  operator: ['操作員', '操作员'],
  admin: ['管理員', '管理员'],
  Owner: ['擁有者', '所有者'],
  'The scheduler does not take this token.': ['排程器不接受此權杖。', '调度器不接受此令牌。'],
  connecting: ['連線中', '连接中'],
  live: ['即時', '实时'],
  'no answer': ['無回應', '无响应'],
  'The scheduler has not answered{0}.': ['排程器沒有回應{0}。', '调度器没有响应{0}。'],
  ' for {0} s': ['（已 {0} 秒）', '（已 {0} 秒）'],
  ' What is shown below is from before.': ['以下為先前的內容。', '以下为之前的内容。'],
  '{0}, version {1}': ['{0}，版本 {1}', '{0}，版本 {1}'],
  Nodes: ['節點', '节点'],
  Node: ['節點', '节点'],
  State: ['狀態', '状态'],
  CPU: ['CPU', 'CPU'],
  Memory: ['記憶體', '内存'],
  'CPUs held': ['已占用 CPU', '已占用 CPU'],
  Place: ['所在地', '所在地'],
  cloned: ['重複', '重复'],
  'Network in': ['網路接收', '网络接收'],
  'Network out': ['網路傳送', '网络发送'],
  Power: ['功率', '功率'],
  'Sample age': ['取樣時間', '采样时间'],
  'No node has joined yet.': ['尚無節點加入。', '尚无节点加入。'],
  ready: ['就緒', '就绪'],
  unreachable: ['無法連線', '无法连接'],
  'ready, {0} unreachable': ['就緒，{0} 個無法連線', '就绪，{0} 个无法连接'],
  CPUs: ['CPU', 'CPU'],
  'hardware threads': ['硬體執行緒', '硬件线程'],
  'CPU peak': ['CPU 峰值', 'CPU 峰值'],
  'FP64, all ready nodes': ['FP64，所有就緒節點', 'FP64，所有就绪节点'],
  unknown: ['未知', '未知'],
  'nothing measures it here': ['此處無測量來源', '此处无测量来源'],
  measured: ['實測', '实测'],
  Jobs: ['作業', '作业'],
  'running, {0} waiting': ['執行中，{0} 個等待', '运行中，{0} 个等待'],
  // States of jobs; in English as the page writes them.
  'job pending': ['等待', '等待'],
  'job starting': ['啟動中', '启动中'],
  'job running': ['執行中', '运行中'],
  'job completed': ['完成', '完成'],
  'job failed': ['失敗', '失败'],
  'job failed to start': ['無法啟動', '无法启动'],
  'job cancelled': ['已取消', '已取消'],
  'job timeout': ['逾時', '超时'],
  'job out of memory': ['記憶體不足', '内存不足'],
  'job lost': ['遺失', '丢失'],
  'no power source': ['無功率來源', '无功率来源'],
  absent: ['缺', '缺'],
  '{0} of {1}': ['{0} / {1}', '{0} / {1}'],
  'no sample': ['無取樣', '无采样'],
  ', stale': ['，已過時', '，已过时'],
  Job: ['作業', '作业'],
  Name: ['名稱', '名称'],
  Duration: ['時長', '时长'],
  Exit: ['結束碼', '退出码'],
  Reason: ['原因', '原因'],
  Close: ['關閉', '关闭'],
  'Give the token to see the jobs.': ['輸入權杖以檢視作業。', '输入令牌以查看作业。'],
  'No job has been submitted yet: flopd run -- COMMAND': [
    '尚未提交作業：flopd run -- COMMAND',
    '尚未提交作业：flopd run -- COMMAND',
  ],
  '{0} left out {1}': ['{1}略去 {0}', '{1}略去 {0}'],
  'by its quota': ['因配額', '因配额'],
  'as the disk refused them': ['因磁碟拒絕', '因磁盘拒绝'],
  'as its shim was killed': ['因墊片被終止', '因垫片被终止'],
  ' Its output is not kept any more: {0}.': ['其輸出已不再保存：{0}。', '其输出已不再保存：{0}。'],
  '{0}, the last 64 KiB': ['{0}，最後 64 KiB', '{0}，最后 64 KiB'],
  Accelerators: ['加速器', '加速器'],
  'Accelerator peak': ['加速器峰值', '加速器峰值'],
  Achieved: ['實際達到', '实际达到'],
  'Accelerator power': ['加速器功率', '加速器功率'],
  '{0}, dense': ['{0}，稠密', '{0}，稠密'],
  'no peak is known': ['峰值未知', '峰值未知'],
  '{0} held, {1} not well': ['{0} 占用，{1} 不健康', '{0} 占用，{1} 不健康'],
  '{0} held, all well': ['{0} 占用，全部健康', '{0} 占用，全部健康'],
  'by {0} of {1} devices': ['{0} / {1} 個裝置', '{0} / {1} 个设备'],
  '{0} % of the peak': ['峰值的 {0} %', '峰值的 {0} %'],
  'of {0} limit': ['上限 {0}', '上限 {0}'],
  simulated: ['模擬', '模拟'],
  '{0} of {1} simulated': ['{0} / {1} 為模擬', '{0} / {1} 为模拟'],
  Model: ['型號', '型号'],
  Devices: ['裝置', '设备'],
  Device: ['裝置', '设备'],
  Health: ['健康', '健康'],
  Held: ['占用', '占用'],
  Peak: ['峰值', '峰值'],
  Available: ['可用', '可用'],
  Energy: ['能量', '能量'],
  Busy: ['忙碌', '忙碌'],
  Temperature: ['溫度', '温度'],
  'Achieved / peak': ['實際 / 峰值', '实际 / 峰值'],
  ok: ['正常', '正常'],
  degraded: ['降級', '降级'],
  failed: ['故障', '故障'],
  cordoned: ['已隔離', '已隔离'],
  '{0} unreachable': ['{0} 無法連線', '{0} 无法连接'],
  'Give the token to see each device.': ['輸入權杖以檢視各裝置。', '输入令牌以查看各设备。'],
};

let chosen = 0;

/** The phrase in the language of the page; `{0}` stands for the first value. */
export function say(phrase, ...values) {
  const text = chosen === 0 ? phrase : (phrases[phrase]?.[chosen - 1] ?? phrase);
  return text.replace(/\{(\d)\}/g, (_, place) => String(values[Number(place)] ?? ''));
}

function choose(place) {
  chosen = place;
  document.documentElement.lang = codes[place];
  for (const element of document.querySelectorAll('[data-say]')) {
    element.dataset.say ||= element.textContent;
    element.textContent = say(element.dataset.say);
  }
  for (const element of document.querySelectorAll('[data-hint]'))
    element.setAttribute('placeholder', say(element.dataset.hint));
}

/** As the reader chose before, else as the browser prefers. */
export function startLanguage(select) {
  const kept = codes.indexOf(localStorage.getItem(LANGUAGE_KEY) ?? '');
  const wanted = navigator.languages.map((tag) => placeOf(tag)).find((place) => place !== null);
  choose(kept >= 0 ? kept : (wanted ?? 0));
  select.value = codes[chosen];
  select.addEventListener('change', () => {
    localStorage.setItem(LANGUAGE_KEY, select.value);
    choose(codes.indexOf(select.value));
  });
}

function placeOf(tag) {
  if (/^en\b/i.test(tag)) return 0;
  if (!/^zh\b/i.test(tag)) return null;
  return /\b(?:hant|tw|hk|mo)\b/i.test(tag) ? 1 : 2;
}

/** The state of a job; `failed` of a device is another word. */
export function sayState(state) {
  return say(`job ${words(state)}`).replace(/^job /, '');
}
