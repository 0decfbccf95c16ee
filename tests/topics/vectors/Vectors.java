import org.apache.kafka.common.utils.Utils;
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner;
import java.nio.charset.StandardCharsets;
import java.util.*;
public class Vectors {
  static String q(String s){StringBuilder b=new StringBuilder("\"");for(char c:s.toCharArray()){if(c=='"'||c=='\\'){b.append('\\').append(c);}else if(c<32||c>126){b.append(String.format("\\u%04x",(int)c));}else b.append(c);}return b.append('"').toString();}
  public static void main(String[] a){
    List<String> keys=new ArrayList<>(List.of("","a","ab","abc","abcd","abcde","user:1","user:42","user:alice","guest:0","guest:f47ac10b-58cc-4372-a567-0e02b2c3d479","user:"+"x".repeat(128),"guest:"+"~".repeat(127),"user:Z\u00fcrich","user:\u6771\u4eac","user:\ud83d\uded2","\u00e9","\u00ff\u00fe\u00fd","!purge-floor","a".repeat(1000),"\u20ac".repeat(333)));
    Random r=new Random(7); String al="ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-";
    for(int i=0;i<60;i++){StringBuilder b=new StringBuilder(i%2==0?"user:":"guest:");int n=1+r.nextInt(128);for(int j=0;j<n;j++)b.append(al.charAt(r.nextInt(al.length())));keys.add(b.toString());}
    System.out.println("[");
    for(int i=0;i<keys.size();i++){byte[] d=keys.get(i).getBytes(StandardCharsets.UTF_8);
      System.out.printf("  {\"key\": %s, \"murmur2\": %d, \"of_16\": %d, \"of_7\": %d}%s%n",q(keys.get(i)),Utils.murmur2(d),BuiltInPartitioner.partitionForKey(d,16),BuiltInPartitioner.partitionForKey(d,7),i<keys.size()-1?",":"");}
    System.out.println("]");
  }}
