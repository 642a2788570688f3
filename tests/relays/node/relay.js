// A relay as somebody else writes it: socket.io-client (4, or 2 with RELAY_CLIENT=2) and ssh2, from the public
// description alone.
//
//   RELAY_URL=http://127.0.0.1:8080 PROXY_ID=rel-... API_KEY=prk_... node relay.js
//
// RELAY_BY is `auth` or `query`, RELAY_TRANSPORT is `websocket` or `polling`.
'use strict';

const old = process.env.RELAY_CLIENT === '2';
const io = old ? require('socket.io-client-2') : require('socket.io-client').io;
const { Client } = require('ssh2');

const url = process.env.RELAY_URL;
const who = { proxyId: process.env.PROXY_ID, apiKey: process.env.API_KEY };
const say = (...words) => console.log(...words);

function execute(command) {
  return new Promise((resolve) => {
    const ssh = new Client();
    const failed = (error) => resolve({ stdout: '', stderr: error.message, exitCode: 1 });
    ssh.on('error', failed);
    ssh.on('ready', () => {
      ssh.exec(command.command, (error, stream) => {
        if (error) return failed(error);
        const stdout = [];
        const stderr = [];
        let exitCode = null;
        stream.on('data', (bytes) => stdout.push(bytes));
        stream.stderr.on('data', (bytes) => stderr.push(bytes));
        stream.on('exit', (code) => { exitCode = code; });
        stream.on('close', () => {
          resolve({ stdout: Buffer.concat(stdout).toString(), stderr: Buffer.concat(stderr).toString(), exitCode });
          ssh.end();
        });
      });
    });
    setTimeout(() => { failed(new Error('Command timeout')); ssh.destroy(); }, command.timeout).unref();
    const { host, port, username, password, privateKey } = command;
    try {
      ssh.connect({ host, port, username, password, privateKey, readyTimeout: 10000 });
    } catch (error) {
      failed(error);
    }
  });
}

const options = {
  transports: [process.env.RELAY_TRANSPORT || 'websocket'],
  reconnection: true, reconnectionDelay: 200, reconnectionDelayMax: 1000,
};
if (process.env.RELAY_BY === 'query' || old) options.query = who; else options.auth = who;
const socket = io(`${url}/proxy`, options);

socket.on('connect', () => say('connected'));
socket.on('disconnect', (reason) => {
  say('disconnected', reason);
  // it does not come back by itself when the server said so
  if (reason === 'io server disconnect') setTimeout(() => socket.connect(), 200);
});
socket.on('connect_error', (error) => {
  say('refused', error.message);
  if (!old && !socket.active) setTimeout(() => socket.connect(), 500);
});
socket.on('error', (error) => say('refused', error.message || error));
socket.on('execute_command', async (command) => {
  say('execute', command.commandId);
  const result = await execute(command);
  // the client keeps it until it is connected
  socket.emit('command_result', { commandId: command.commandId, result });
  say('answered', command.commandId);
});
socket.on('command_result_received', (data) => say('received', data.success));
