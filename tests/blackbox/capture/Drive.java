// Makes the Java client send every opcode it can. Run from source by
// regenerate.py (java Drive.java host:port reconnectFile); needs a JDK.
//
// When the connection is to be cut (so that the client renews its session and
// sends setWatches2), it prints CUT on stdout; the driver behind cuts.

import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.apache.zookeeper.AddWatchMode;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Op;
import org.apache.zookeeper.WatchedEvent;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs.Ids;
import org.apache.zookeeper.ZooKeeper;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.data.Stat;

public class Drive {
    static void expect(String code, Callable<?> call) throws Exception {
        try {
            call.call();
        } catch (KeeperException e) {
            if (e.code().name().equals(code)) {
                return;
            }
            throw e;
        }
        throw new IllegalStateException("no " + code);
    }

    public static void main(String[] args) throws Exception {
        Semaphore connected = new Semaphore(0);
        Watcher state = event -> {
            if (event.getType() == Watcher.Event.EventType.None
                    && event.getState() == Watcher.Event.KeeperState.SyncConnected) {
                connected.release();
            }
        };
        ZooKeeperAdmin zk = new ZooKeeperAdmin(args[0], 20000, state);
        await(connected);
        Stat stat = new Stat();
        byte[] data = "hello".getBytes();
        List<org.apache.zookeeper.data.ACL> open = Ids.OPEN_ACL_UNSAFE;

        zk.create("/j", data, open, CreateMode.PERSISTENT);
        expect("NODEEXISTS", () -> zk.create("/j", data, open, CreateMode.PERSISTENT));
        zk.create("/j/null", null, open, CreateMode.PERSISTENT, stat);
        zk.create("/j/seq-", new byte[0], open, CreateMode.PERSISTENT_SEQUENTIAL);
        zk.create("/j/eph", data, open, CreateMode.EPHEMERAL, stat);
        zk.create("/j/eseq-", data, open, CreateMode.EPHEMERAL_SEQUENTIAL, stat);
        zk.create("/j/container", data, open, CreateMode.CONTAINER, stat);
        zk.create("/j/ttl", data, open, CreateMode.PERSISTENT_WITH_TTL, stat, 3600000);
        zk.create("/j/ttlseq-", data, open, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, stat, 3600000);
        expect("NOCHILDRENFOREPHEMERALS", () -> zk.create("/j/eph/x", data, open, CreateMode.PERSISTENT));
        zk.exists("/j", false);
        zk.exists("/absent", true);
        zk.getData("/j", true, stat);
        zk.getData("/j/null", false, stat);
        zk.setData("/j", "world".getBytes(), 0);
        expect("BADVERSION", () -> zk.setData("/j", data, 7));
        expect("NOTEMPTY", () -> {
            zk.delete("/j", -1);
            return null;
        });
        zk.delete("/j/null", -1);
        zk.getChildren("/j/container", true);
        zk.getChildren("/j/container", false, stat);
        zk.create("/j/container/child", null, open, CreateMode.PERSISTENT);
        zk.getACL("/j", stat);
        zk.addAuthInfo("digest", "user:password".getBytes());
        zk.setACL("/j/ttl", Ids.CREATOR_ALL_ACL, 0);
        zk.getACL("/j/ttl", stat);
        zk.whoAmI();
        zk.getEphemerals();
        zk.getEphemerals("/j/e");
        zk.getAllChildrenNumber("/j");
        CountDownLatch synced = new CountDownLatch(1);
        zk.sync("/j", (rc, path, ctx) -> synced.countDown(), null);
        synced.await(10, TimeUnit.SECONDS);

        zk.multi(Arrays.asList(
                Op.check("/j", 1),
                Op.create("/j/m", data, open, CreateMode.PERSISTENT),
                Op.create("/j/mc", data, open, CreateMode.CONTAINER),
                Op.create("/j/mt", data, open, CreateMode.PERSISTENT_WITH_TTL, 5000),
                Op.setData("/j/m", null, -1),
                Op.delete("/j/m", 1)));
        expect("NONODE", () -> zk.multi(Arrays.asList(
                Op.create("/j/n", data, open, CreateMode.PERSISTENT),
                Op.delete("/nowhere", -1),
                Op.setData("/j", data, -1))));
        zk.multi(Arrays.asList(
                Op.getData("/j"),
                Op.getChildren("/j"),
                Op.getData("/nowhere")));

        Watcher one = event -> { };
        Watcher two = event -> { };
        zk.addWatch("/j", one, AddWatchMode.PERSISTENT);
        zk.addWatch("/j", two, AddWatchMode.PERSISTENT_RECURSIVE);
        zk.exists("/j", one);
        zk.getData("/j", two, stat);
        zk.getChildren("/j", one);
        zk.removeWatches("/j", one, Watcher.WatcherType.Data, false); // checkWatches
        zk.removeAllWatches("/j", Watcher.WatcherType.Children, false); // removeWatches
        zk.addWatch("/j", one, AddWatchMode.PERSISTENT);
        zk.getChildren("/j", one);
        zk.exists("/still-absent", one);
        expect("RECONFIGDISABLED", () -> zk.reconfigure("server.2=127.0.0.1:1:2;3", null, null, -1, stat));

        connected.drainPermits();
        System.out.println("CUT");
        await(connected);
        zk.setData("/j", data, -1);
        zk.getConfig(false, stat);
        zk.close();
        System.out.println("DONE");
    }

    static void await(Semaphore connected) throws Exception {
        if (!connected.tryAcquire(20, TimeUnit.SECONDS)) {
            throw new IllegalStateException("not connected");
        }
    }
}
