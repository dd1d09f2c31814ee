// llama_cpp.mjs - exports models as GGUF, has llama.cpp (npm's node-llama-cpp) load them, and compares: the ids it makes of texts, and the
// likeliest continuation, token for token.
//   node llama_cpp.mjs RETORT FIXTURES      in a folder with node_modules/node-llama-cpp; FIXTURES may be absent. Writes into ./work
// Exit code 0: all equal; 1: a line for each difference; 77: llama.cpp itself cannot be loaded here.
import {execFileSync} from "node:child_process";
import {cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync} from "node:fs";
import {createRequire} from "node:module";
import {gunzipSync} from "node:zlib";
import {pathToFileURL} from "node:url";

const [retort, fixtures] = process.argv.slice(2), work = process.cwd() + "/work", tokens = 40;
async function start() {
    try {
        const {getLlama, LlamaLogLevel, readGgufFileInfo} = await import(pathToFileURL(createRequire(process.cwd() + "/").resolve("node-llama-cpp")));
        return [await getLlama({gpu: false, build: "never", skipDownload: true, logLevel: LlamaLogLevel.error}), readGgufFileInfo];
    } catch (error) {
        console.log(`SKIPPED: llama.cpp cannot be loaded: ${error.message}`);
        process.exit(77);
    }
}
const [llama, readGgufFileInfo] = await start();
rmSync(work, {recursive: true, force: true});
mkdirSync(work);

let failures = 0;
const same = (a, b) => a.length === b.length && a.every((x, i) => x === b[i]);
function check(equal, what, found, expected) {
    if (equal) return;
    failures++;
    console.log(`DIFFERS ${what}\n  llama.cpp ${JSON.stringify(found)}\n  expected  ${JSON.stringify(expected)}`);
}
function run(...words) {
    try {
        return execFileSync(retort, words, {maxBuffer: 1 << 28, stdio: ["ignore", "pipe", "pipe"]}).toString();
    } catch (error) {
        console.log(`FAILED retort ${words.join(" ")}: ${error.stderr}`);
        process.exit(1);
    }
}
const numbers = (text) => text.trim().split(/\s+/).filter((x) => x !== "").map(Number);

// Retort's ids of many texts, in one run.
function encode(tokenizer, texts) {
    writeFileSync(`${work}/texts.jsonl`, texts.map((text) => JSON.stringify({text}) + "\n").join(""));
    const lines = run("data", "encode", "--tokenizer", tokenizer, "--jsonl", `${work}/texts.jsonl`).split("\n");
    return texts.map((_, i) => numbers(lines[i]));
}

function encodeWithSpecials(tokenizer, text) { // as `generate` begins
    writeFileSync(`${work}/prompt.txt`, text);
    return numbers(run("data", "encode", "--tokenizer", tokenizer, "--add-special-tokens", "--whole", `${work}/prompt.txt`));
}

// The cache holds f32: the contract of what it is compared with.
async function greedy(model, prompt) {
    const context = await model.createContext({contextSize: 128, threads: 1, experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32"});
    const ids = [];
    for await (const id of context.getSequence().evaluate(prompt, {temperature: 0})) if (ids.push(Number(id)) === tokens) break;
    await context.dispose();
    return ids;
}
const open = (file) => llama.loadModel({modelPath: file, gpuLayers: 0, useMmap: true});
// normalize: the tokenizer brings text to NFC, which llama.cpp does not. except: texts that llama.cpp is known to take otherwise.
async function checkTexts(name, model, tokenizer, texts, {normalize = false, except = []}) {
    const given = texts.filter((t) => !except.includes(t)).map((t) => (normalize ? t.normalize("NFC") : t)), expected = encode(tokenizer, given);
    check(given.length === texts.length - except.length, `${name}: texts left out`, texts.length - given.length, except.length);
    given.forEach((text, i) => {
        const mine = Array.from(model.tokenize(text, true), Number);
        check(same(mine, expected[i]), `${name}: ids of ${JSON.stringify(text)}`, mine, expected[i]);
    });
    return given.length;
}

// The header, by node-llama-cpp's own reader: a mixture says how it chooses, and its experts are stacked.
async function checkHeader(name, file, architecture) {
    const {metadata, fullTensorInfo} = await readGgufFileInfo(file), keys = metadata[architecture] ?? {}, find = (tensor) => fullTensorInfo.find((t) => t.name === tensor);
    check(metadata.general.architecture === architecture, `${name}: architecture`, metadata.general.architecture, architecture);
    check(metadata.tokenizer.ggml.tokens.length === keys.vocab_size, `${name}: tokens`, metadata.tokenizer.ggml.tokens.length, keys.vocab_size);
    const gate = find("blk.0.ffn_gate_exps.weight"), dimensions = gate?.dimensions.map(Number);
    if (!gate) return check(keys.expert_count === undefined, `${name}: experts`, keys.expert_count, undefined);
    const said = [keys.expert_gating_func, typeof keys.expert_weights_norm, keys.expert_used_count > 0];
    check(said[0] === 1 && said[1] === "boolean" && said[2], `${name}: gating`, said, [1, "boolean", true]);
    check(same(dimensions, [keys.embedding_length, keys.expert_feed_forward_length, keys.expert_count]), `${name}: experts`, dimensions, keys);
    check(find("blk.0.ffn_gate_inp.weight").ggmlType === 0, `${name}: type of the router`, find("blk.0.ffn_gate_inp.weight").ggmlType, 0);
}

// One model in all types. In f32 the continuation equals Retort's; in f16 and q8_0 llama.cpp rounds activations too, so it is only made.
async function checkModel(name, folder, prompt, {texts = [], types = ["f32", "f16", "q8_0"], architecture, ...how} = {}) {
    const report = [], start = encodeWithSpecials(folder, prompt);
    for (const type of types) {
        const file = `${work}/${name}-${type}.gguf`;
        run("export", folder, "--format", "gguf", "--dtype", type, "--out", file);
        const model = await open(file), ids = await greedy(model, start);
        if (type === "f32") {
            const expected = numbers(run("generate", file, "--prompt", prompt, "--greedy", "--print-ids", "--tokens", String(tokens)));
            check(same(ids, expected), `${name}: greedy continuation`, ids, expected);
            report.push(`${ids.length} tokens equal`);
            if (texts.length) report.push(`${await checkTexts(name, model, folder, texts, how)} texts tokenized`);
            await checkHeader(name, file, architecture);
        } else {
            check(ids.length > 0, `${name} ${type}: generates`, ids.length, tokens);
            report.push(`${type} generates ${ids.length}`);
        }
        await model.dispose();
        rmSync(file);
    }
    console.log(`${name}: ${report.join(", ")}`);
}
// ---------------------------------------------------------------- made here

run("data", "synth", "--out", `${work}/data`, "--bytes", "256KiB", "--seed", "3", "--vocab", "400");
function train(name, student, data, steps) {
    writeFileSync(`${work}/${name}.yaml`, `student: ${student}\ndata: ${data}\noptimizer: {lr: 3e-3}\nschedule: {warmup: 1, steps: ${steps}}\nrun: {out: ${work}/${name}, eval_every: ${steps}, log_every: ${steps}}\n`);
    run("train", `${work}/${name}.yaml`);
    return `${work}/${name}`;
}
const synth = `{train: [${work}/data/train.txt], tokenizer: ${work}/data, separator: blank_line, sequence_length: 64, batch: 8}`;
const stories = readFileSync(`${work}/data/valid.txt`, "utf8").split("\n\n").slice(0, 50).concat(["", " ", "Tom's 3 cats,\n\n  and  1234567 däys! \u{1F600}"]);
const folderOf = (name) => { // what the run's checkpoint holds, as a folder with a tokenizer
    run("export", `${work}/${name}`, "--dtype", "f32", "--out", `${work}/${name}-hf`);
    return `${work}/${name}-hf`;
};
train("student", "{arch: mixtral, hidden_size: 64, layers: 2, heads: 4, kv_heads: 2, ffn_size: 96, experts: 4, experts_per_token: 2}", synth, 40);
await checkModel("student", folderOf("student"), "Alex has a red", {texts: stories, architecture: "llama"});
train("qwen", "{arch: qwen3_moe, hidden_size: 64, layers: 2, heads: 4, kv_heads: 2, ffn_size: 96, experts: 4, experts_per_token: 2, head_dim: 32}", synth, 40);
await checkModel("qwen", folderOf("qwen"), "Alex has a red", {texts: stories, architecture: "qwen3moe"});

// ------------------------------------------------------------------ fixtures

if (!fixtures || !existsSync(fixtures)) console.log("SKIPPED: fixtures are absent; stories260K, the families and the large tokenizers are not compared");
else {
    const vectors = readFileSync(`${fixtures}/tokenizers/gpt2/vectors.inp`, "utf8").split("\n__ggml_vocab_test__\n").slice(0, -1);
    const strings = readFileSync(`${fixtures}/tokenizers/gpt2/strings.jsonl`, "utf8").split("\n").filter(Boolean).map((line) => JSON.parse(line).text);
    const once = "Once upon a time", all = vectors.concat(strings);
    await checkModel("stories260K", `${fixtures}/models/stories260K/hf-f32`, once, {texts: all, architecture: "llama"});
    await checkModel("stories260K-moe4x", `${fixtures}/models/stories260K-moe4x/hf-f32`, once, {architecture: "llama"});
    // the families' random models, with a tokenizer of as many ids; one more with linear scaling
    const families = {llama: "llama", llama3: "llama", mistral: "llama", mixtral: "llama", qwen2: "qwen2", qwen3: "qwen3", qwen3_moe: "qwen3moe", olmoe: "olmoe", qwen2_moe: "qwen2moe", linear: "llama"};
    for (const [name, architecture] of Object.entries(families)) {
        const folder = `${work}/${name}`;
        cpSync(`${fixtures}/models/${name === "linear" ? "llama" : name}/f32`, folder, {recursive: true});
        for (const file of ["tokenizer.json", "tokenizer_config.json"]) cpSync(`${fixtures}/models/stories260K/hf-f32/${file}`, `${folder}/${file}`);
        if (name === "linear") {
            const config = JSON.parse(readFileSync(`${folder}/config.json`, "utf8"));
            writeFileSync(`${folder}/config.json`, JSON.stringify({...config, rope_scaling: {rope_type: "linear", factor: 4}}));
        }
        await checkModel(name, folder, once, {architecture, types: ["f32", "q8_0"]});
    }
    // Qwen2 has an ordinary token "</s>", which llama.cpp declares special by its look (llama-vocab.cpp, end-of-generation tokens)
    const how = {gpt2: {}, qwen2: {normalize: true, except: ["</s> <unk> <pad>"]}};
    for (const name of ["gpt2", "qwen2"]) {
        const tokenizer = `${work}/${name}-tokenizer`;
        mkdirSync(tokenizer);
        writeFileSync(`${tokenizer}/tokenizer.json`, gunzipSync(readFileSync(`${fixtures}/tokenizers/${name}/tokenizer.json.gz`)));
        train(`${name}-model`, "{arch: llama, hidden_size: 32, layers: 1, heads: 2, kv_heads: 2, ffn_size: 32, tie: true}",
            `{train: [${work}/data/valid.txt], tokenizer: ${tokenizer}, separator: blank_line, sequence_length: 32, batch: 1}`, 1);
        await checkModel(`${name} tokenizer`, folderOf(`${name}-model`), once, {texts: all, types: ["f32"], architecture: "llama", ...how[name]});
    }
}
await llama.dispose();
console.log(failures ? `${failures} differences` : "all equal");
process.exit(failures ? 1 : 0);
