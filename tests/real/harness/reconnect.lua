-- A point select over a connection of its own, over and over. The first error ends the run.

sysbench.cmdline.options = {
   table_size = {"Rows of the table", 1000},
}

function thread_init()
   driver = sysbench.sql.driver()
end

function event()
   local connection = driver:connect()
   local id = sysbench.rand.uniform(1, sysbench.opt.table_size)
   local found = connection:query_row("SELECT k FROM sbtest1 WHERE id = " .. id)
   connection:disconnect()
   assert(tonumber(found) == id, "another row than was asked for")
end
