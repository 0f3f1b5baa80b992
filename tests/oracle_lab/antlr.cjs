// Parses statements of Oracle's, read from standard input as JSON texts; answers with the first complaint about each, or null.
const path = require("node:path");
const modules = path.join(process.argv[2], "node_modules");
const { antlr4tsSQL, SQLDialect } = require(path.join(modules, "antlr4ts-sql"));
const { PredictionMode } = require(path.join(modules, "antlr4ts", "atn", "PredictionMode"));

const statements = JSON.parse(require("node:fs").readFileSync(0, "utf8"));
const answers = statements.map((text) => {
    const complaints = [];
    const listener = {
        syntaxError: (_recognizer, _symbol, line, column, message) => {
            complaints.push(`${line}:${column} ${message.slice(0, 200)}`);
        },
    };
    try {
        const sql = new antlr4tsSQL(SQLDialect.PLSQL);
        const tokens = sql.getTokens(text, [listener]);
        const parser = sql.getParser(tokens, [listener]);
        parser.interpreter.setPredictionMode(PredictionMode.SLL); // a tenth of the time
        sql.getParseTree(parser);
    } catch (error) {
        complaints.push(String(error));
    }
    return complaints[0] ?? null;
});
process.stdout.write(JSON.stringify(answers));
