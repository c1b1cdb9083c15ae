// Runs logins and queries with npm's mysql2: reads a list of jobs as JSON, writes a list of outcomes as JSON.
const fs = require("fs");
const mysql = require("mysql2/promise");

async function run(job) {
    const options = { host: job.host, port: job.port, user: job.user, password: job.password, connectTimeout: 15000 };
    if (job.ca) {
        options.ssl = { ca: fs.readFileSync(job.ca), verifyIdentity: true };
        if (job.version) options.ssl.minVersion = options.ssl.maxVersion = job.version;
        if (job.cert) Object.assign(options.ssl, { cert: fs.readFileSync(job.cert), key: fs.readFileSync(job.key) });
    }
    let connection;
    try {
        connection = await mysql.createConnection(options);
        const [rows] = await connection.query({ sql: job.sql, rowsAsArray: true });
        await connection.end();
        return { rows: rows.map((row) => row.map((value) => (value === null ? null : String(value)))) };
    } catch (error) {
        if (connection) connection.destroy();
        return { code: error.errno || 0, state: error.sqlState || null, message: error.message };
    }
}

async function main() {
    const outcomes = [];
    for (const job of JSON.parse(fs.readFileSync(0))) outcomes.push(await run(job));
    process.stdout.write(JSON.stringify(outcomes));
}

main();
