// A thread that asks a server for /health, each time on a new connection, until it is told to stop;
// it then says how long each answer took, in milliseconds.
import {get} from 'node:http';
import {parentPort, workerData} from 'node:worker_threads';

const times = [];
let stops = false;
parentPort.once('message', () => { stops = true; });

function ask() {
  return new Promise((done, fail) => {
    const start = performance.now();
    get(workerData.url + '/health', {agent: false}, response => {
      response.resume();
      response.on('end', () => done({status: response.statusCode, time: performance.now() - start}));
    }).on('error', fail);
  });
}

while (!stops) {
  const {status, time} = await ask();
  if (status !== 200) throw new Error(`/health: ${status}`);
  times.push(time);
  await new Promise(done => setTimeout(done, 5));
}
parentPort.postMessage(times);
