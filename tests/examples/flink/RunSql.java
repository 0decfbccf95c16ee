import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.TableEnvironment;

/** Runs a file of SQL statements in this process: what sql-client.sh asks a cluster for. */
public class RunSql {
    public static void main(String[] arguments) throws Exception {
        var tables = TableEnvironment.create(EnvironmentSettings.inStreamingMode());
        var text = Files.readString(Path.of(arguments[0])).replaceAll("(?m)^--.*$", "");
        for (var statement : text.split(";")) {
            if (statement.isBlank()) continue;
            var result = tables.executeSql(statement);
            if (statement.strip().startsWith("INSERT")) result.await();
        }
    }
}
